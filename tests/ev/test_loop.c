#include <signal.h>
#include <sys/time.h>

#include "ev_test.h"

/* --- the turn --------------------------------------------------------------------------------- */

static char steps[64];

static void note(const char *step) { strcat(steps, step); }

static void note_release(ev_release *release)
{
    (void)release;
    note("release ");
}

static void note_flush(ev_loop *loop, void *arg)
{
    (void)loop;
    (void)arg;
    note("flush ");
}

static bool note_run(ev_loop *loop, void *arg)
{
    (void)loop;
    (void)arg;
    note("run ");
    return false;
}

static void note_timer(ev_loop *loop, ev_timer *timer)
{
    (void)loop;
    (void)timer;
    note("timer ");
}

static void note_event(ev_loop *loop, ev_io *io, int events)
{
    static ev_release release;
    if (!(events & EV_READ))
        return;
    note("event ");
    ev_io_close(loop, io);
    ev_release_later(loop, &release, note_release);
}

Test(ev_loop, makes_the_steps_of_a_turn_in_their_order)
{
    ev_loop *loop = test_loop();
    int fds[2];
    test_pair(fds);
    ev_io io;
    ev_timer timer;
    cr_assert_eq(ev_io_start(loop, &io, fds[0], note_event), 0);
    ev_timer_init(&timer, note_timer);
    ev_timer_start(loop, &timer, 0, 0);
    ev_loop_on_flush(loop, note_flush, NULL);
    ev_loop_on_run(loop, note_run, NULL);
    test_write(fds[1], "x");
    test_turn(loop);
    cr_assert_str_eq(steps, "event timer run flush release ");
    close(fds[1]);
    ev_loop_free(loop);
}

Test(ev_loop, sleeps_no_longer_than_it_is_told_and_no_shorter)
{
    ev_loop *loop = test_loop();
    uint64_t began = test_clock_ns();
    cr_assert_eq(ev_loop_turn(loop, 15), 0);
    cr_assert_geq(test_clock_ns() - began, 15000000u);
    ev_loop_free(loop);
}

Test(ev_loop, does_not_sleep_when_told_that_there_is_more)
{
    ev_loop *loop = test_loop();
    ev_loop_again(loop);
    cr_assert_eq(ev_loop_turn(loop, -1), 0);
    ev_loop_free(loop);
}

static uint64_t times_seen[2];
static int times_seen_len;

static void see_time_and_dawdle(ev_loop *loop, ev_timer *timer)
{
    (void)timer;
    times_seen[times_seen_len++] = ev_now_ns(loop);
    test_spin_ms(2);
}

static void ready_in_flush(ev_loop *loop, void *arg)
{
    int *flushes = arg;
    if ((*flushes)++ == 0)
        ev_loop_ready(loop);
}

static int runs;

static bool count_run(ev_loop *loop, void *arg)
{
    (void)loop;
    (void)arg;
    runs++;
    return false;
}

Test(ev_loop, runs_before_it_sleeps_what_became_ready_after_the_run_step)
{
    ev_loop *loop = test_loop();
    int flushes = 0;
    runs = 0;
    ev_loop_on_run(loop, count_run, NULL);
    ev_loop_on_flush(loop, ready_in_flush, &flushes);
    ev_ref(loop);
    test_turn(loop);
    uint64_t begun = test_clock_ns();
    cr_assert_eq(ev_loop_turn(loop, PATIENCE_MS), 0);
    cr_assert_lt(test_clock_ns() - begun, PATIENCE_MS * (uint64_t)1000000);
    cr_assert_eq(runs, 2);
    ev_unref(loop);
    ev_loop_free(loop);
}

static void ready_at_once(ev_loop *loop, ev_timer *timer)
{
    (void)timer;
    ev_loop_ready(loop);
}

Test(ev_loop, sleeps_after_the_run_step_that_follows_what_became_ready)
{
    ev_loop *loop = test_loop();
    ev_timer timer;
    ev_loop_on_run(loop, count_run, NULL);
    ev_timer_init(&timer, ready_at_once);
    ev_timer_start(loop, &timer, 1, 0);
    while (ev_timer_active(&timer))
        cr_assert_eq(ev_loop_turn(loop, 1000), 0);
    uint64_t begun = test_clock_ns();
    cr_assert_eq(ev_loop_turn(loop, 20), 0);
    cr_assert_geq(test_clock_ns() - begun, 19 * (uint64_t)1000000);
    ev_loop_free(loop);
}

Test(ev_loop, shows_one_time_to_everybody_in_a_turn_until_somebody_updates_it)
{
    ev_loop *loop = test_loop();
    ev_timer timers[2];
    for (int i = 0; i < 2; i++) {
        ev_timer_init(&timers[i], see_time_and_dawdle);
        ev_timer_start(loop, &timers[i], 0, 0);
    }
    test_turn(loop);
    cr_assert_eq(times_seen_len, 2);
    cr_assert_eq(times_seen[0], times_seen[1]);
    cr_assert_eq((uint64_t)ev_now_ms(loop), times_seen[0] / 1000000);
    cr_assert_geq(ev_now_update(loop), (int64_t)(times_seen[0] / 1000000) + 4);
    ev_loop_free(loop);
}

Test(ev_loop, tells_the_time_of_the_monotonic_clock)
{
    uint64_t before = test_clock_ns();
    ev_loop *loop = test_loop();
    uint64_t made = ev_now_ns(loop);
    cr_assert(before <= made && made <= test_clock_ns());
    ev_loop_free(loop);
}

static void count_signal(int signum) { (void)signum; }

static void count(ev_loop *loop, ev_timer *timer)
{
    (void)timer;
    ev_unref(loop);
}

Test(ev_loop, goes_on_when_its_wait_is_interrupted)
{
    struct sigaction action = {.sa_handler = count_signal}; /* no SA_RESTART */
    sigaction(SIGALRM, &action, NULL);
    struct itimerval often = {{0, 2000}, {0, 2000}};
    ev_loop *loop = test_loop();
    ev_timer timer;
    ev_timer_init(&timer, count);
    uint64_t turns = 0;
    /* A busy machine may let none of the signals come before the time is over. */
    for (int i = 0; i < 20 && turns <= 2; i++) {
        int64_t began = ev_now_update(loop);
        ev_timer_start(loop, &timer, 50, 0);
        ev_ref(loop);
        turns = ev_loop_stats(loop)->turns;
        setitimer(ITIMER_REAL, &often, NULL);
        cr_assert_eq(ev_loop_run(loop), 0);
        setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
        cr_assert_geq(ev_now_ms(loop) - began, 50);
        turns = ev_loop_stats(loop)->turns - turns;
    }
    cr_assert_gt(turns, 2u, "no wait was interrupted");
    ev_loop_free(loop);
}

/* --- what keeps it turning -------------------------------------------------------------------- */

static int runs;

static bool run_a_few_times(ev_loop *loop, void *arg)
{
    (void)loop;
    return ++runs < *(int *)arg;
}

Test(ev_loop, runs_what_is_ready_and_ends_when_nothing_is_referenced)
{
    ev_loop *loop = test_loop();
    int times = 5;
    ev_loop_on_run(loop, run_a_few_times, &times);
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_eq(runs, 5);
    ev_loop_free(loop);
}

static bool run_and_stop(ev_loop *loop, void *arg)
{
    (void)arg;
    if (++runs == 3)
        ev_loop_stop(loop);
    return true;
}

Test(ev_loop, ends_at_the_end_of_the_turn_that_stops_it)
{
    ev_loop *loop = test_loop();
    ev_ref(loop);
    ev_loop_on_run(loop, run_and_stop, NULL);
    ev_loop_on_flush(loop, note_flush, NULL);
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_eq(runs, 3);
    cr_assert_str_eq(steps, "flush flush flush ");
    ev_unref(loop);
    ev_loop_free(loop);
}

Test(ev_loop, can_run_again_after_it_was_stopped)
{
    ev_loop *loop = test_loop();
    ev_ref(loop);
    ev_loop_on_run(loop, run_and_stop, NULL);
    cr_assert_eq(ev_loop_run(loop), 0);
    runs = 1;
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_eq(runs, 3);
    ev_unref(loop);
    cr_assert_eq(ev_refs(loop), 0);
    ev_loop_free(loop);
}

Test(ev_loop, sleeps_while_something_is_referenced_and_only_then)
{
    ev_loop *loop = test_loop();
    ev_timer timer;
    ev_timer_init(&timer, count);
    ev_timer_start(loop, &timer, 60000, 0);
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert(ev_timer_active(&timer), "an unreferenced timer was waited for");
    ev_timer_start(loop, &timer, 20, 0);
    ev_ref(loop);
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_not(ev_timer_active(&timer));
    ev_loop_free(loop);
}

/* --- deferred release ------------------------------------------------------------------------- */

typedef struct thing {
    ev_release release;
    ev_loop *loop;
    struct thing *after; /* released by this one's release */
} thing;

static int released;

static void free_thing(ev_release *release)
{
    thing *t = CONTAINER_OF(release, thing, release);
    if (t->after)
        ev_release_later(t->loop, &t->after->release, free_thing);
    free(t);
    released++;
}

static thing *thing_new(ev_loop *loop, thing *after)
{
    thing *t = calloc(1, sizeof(*t));
    t->loop = loop;
    t->after = after;
    return t;
}

Test(ev_loop, releases_all_in_one_turn_also_what_a_release_asks_for)
{
    ev_loop *loop = test_loop();
    thing *parent = thing_new(loop, thing_new(loop, NULL));
    ev_release_later(loop, &parent->release, free_thing);
    ev_release_later(loop, &thing_new(loop, NULL)->release, free_thing);
    cr_assert_eq(ev_loop_turn(loop, -1), 0); /* and does not sleep for it */
    cr_assert_eq(released, 3);
    ev_loop_free(loop);
}

Test(ev_loop, releases_what_is_left_when_it_is_freed)
{
    ev_loop *loop = test_loop();
    ev_release_later(loop, &thing_new(loop, thing_new(loop, NULL))->release, free_thing);
    ev_loop_free(loop);
    cr_assert_eq(released, 2);
}

/* --- limits and statistics -------------------------------------------------------------------- */

Test(ev_loop, is_not_made_without_descriptors_and_keeps_none)
{
    ev_loop *loop = NULL;
    int tries = 0;
    int next = test_limit_fds(0);
    while (!(loop = ev_loop_new())) {
        cr_assert_eq(errno, EMFILE);
        cr_assert_lt(tries, 10);
        cr_assert_eq(test_limit_fds(++tries), next, "a descriptor was left open");
    }
    cr_assert_geq(tries, 2);
    ev_loop_free(loop);
    cr_assert_eq(test_limit_fds(-1), next);
}

static bool dawdle(ev_loop *loop, void *arg)
{
    (void)loop;
    test_spin_ms(*(int *)arg);
    return false;
}

Test(ev_loop, counts_how_long_its_turns_were_busy)
{
    ev_loop *loop = test_loop();
    int ms = 5;
    ev_loop_on_run(loop, dawdle, &ms);
    test_turn(loop);
    const ev_stats *stats = ev_loop_stats(loop);
    cr_assert_eq(stats->turns, 1u);
    cr_assert_geq(stats->longest_ns, 5000000u);
    uint64_t long_ones = 0;
    for (int i = 12; i < EV_LAG_BUCKETS; i++) /* 4.096 ms and more */
        long_ones += stats->lag[i];
    cr_assert_eq(long_ones, 1u);
    ev_loop_stats_reset(loop);
    cr_assert_eq(stats->longest_ns, 0u);
    cr_assert_eq(stats->turns, 1u);
    ev_loop_free(loop);
}

Test(ev_loop, does_not_count_its_sleep_as_busy)
{
    ev_loop *loop = test_loop();
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < 5; i++) {
        ev_loop_stats_reset(loop);
        cr_assert_eq(ev_loop_turn(loop, 30), 0);
        if (ev_loop_stats(loop)->longest_ns < least)
            least = ev_loop_stats(loop)->longest_ns;
    }
    cr_assert_lt(least, 30000000u);
    ev_loop_free(loop);
}

Test(ev_loop, has_nothing_to_free_in_no_loop) { ev_loop_free(NULL); }
