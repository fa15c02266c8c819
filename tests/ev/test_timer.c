#include "ev/loop.h"
#include "ev_test.h"

/* --- in real time ----------------------------------------------------------------------------- */

typedef struct probe {
    ev_timer timer;
    uint64_t started_ns;
    int delay_ms;
    int fired;
    int order;
} probe;

static int fired;
static int early;

static void on_probe(ev_loop *loop, ev_timer *timer)
{
    probe *p = CONTAINER_OF(timer, probe, timer);
    p->fired++;
    p->order = fired++;
    if (ev_now_ns(loop) < p->started_ns + (uint64_t)p->delay_ms * 1000000)
        early++;
}

static void probe_start(ev_loop *loop, probe *p, int delay_ms)
{
    if (!p->timer.cb)
        ev_timer_init(&p->timer, on_probe);
    p->started_ns = ev_now_ns(loop);
    p->delay_ms = delay_ms;
    ev_timer_start(loop, &p->timer, delay_ms, 0);
}

Test(ev_timer, never_fires_early)
{
    enum { N = 300 };
    ev_loop *loop = test_loop();
    probe *probes = calloc(N, sizeof(*probes));
    for (int i = 0; i < N; i++) {
        ev_now_update(loop);
        probe_start(loop, &probes[i], i % 30);
    }
    test_turn_until(loop, &fired, N);
    cr_assert_eq(early, 0);
    free(probes);
    ev_loop_free(loop);
}

Test(ev_timer, is_on_time_with_ten_thousand_armed)
{
    enum { ARMED = 10000, ENOUGH = 10, LATE_US = 2000 };
    ev_loop *loop = test_loop();
    probe *others = calloc(ARMED, sizeof(*others));
    for (int i = 0; i < ARMED; i++)
        probe_start(loop, &others[i], 3600 * 1000 + i);
    int on_time = 0;
    /* A machine that has other things to do may be late; one that never is on time is wrong. */
    uint64_t end = test_clock_ns() + PATIENCE_MS * (uint64_t)1000000;
    while (on_time < ENOUGH && test_clock_ns() < end) {
        probe p = {.fired = 0};
        ev_now_update(loop);
        probe_start(loop, &p, 5);
        test_turn_until(loop, &p.fired, 1);
        int64_t late_us = (int64_t)(ev_now_ns(loop) - p.started_ns) / 1000 - 5000;
        cr_assert_geq(late_us, 0);
        on_time += late_us <= LATE_US;
    }
    cr_assert_geq(on_time, ENOUGH);
    free(others);
    ev_loop_free(loop);
}

static ev_timer *chain_timer;
static int chained;

static void on_chain(ev_loop *loop, ev_timer *timer)
{
    chained++;
    ev_timer_start(loop, timer, 0, 0);
}

static int events_seen;

static void on_event(ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)io;
    if (events & EV_READ)
        events_seen++;
}

Test(ev_timer, without_delay_fires_once_a_turn_with_io_in_between)
{
    ev_loop *loop = test_loop();
    ev_timer timer;
    ev_io io;
    int fds[2];
    test_pair(fds);
    cr_assert_eq(ev_io_start(loop, &io, fds[0], on_event), 0);
    ev_timer_init(&timer, on_chain);
    ev_timer_start(loop, &timer, 0, 0);
    cr_assert_eq(ev_loop_turn(loop, -1), 0);
    cr_assert_eq(chained, 1);
    test_write(fds[1], "x");
    cr_assert_eq(ev_loop_turn(loop, -1), 0);
    cr_assert_eq(chained, 2);
    cr_assert_eq(events_seen, 1);
    ev_timer_stop(loop, &timer);
    ev_io_close(loop, &io);
    close(fds[1]);
    ev_loop_free(loop);
}

static void start_chain(ev_loop *loop, ev_io *io, int events)
{
    (void)io;
    (void)events;
    ev_timer_start(loop, chain_timer, 0, 0);
}

Test(ev_timer, without_delay_waits_for_the_turn_after_the_event_that_started_it)
{
    ev_loop *loop = test_loop();
    probe p = {.fired = 0};
    ev_io io;
    int fds[2];
    test_pair(fds);
    ev_timer_init(&p.timer, on_probe);
    chain_timer = &p.timer;
    cr_assert_eq(ev_io_start(loop, &io, fds[0], start_chain), 0);
    test_turn(loop);
    cr_assert(ev_timer_active(&p.timer));
    cr_assert_eq(ev_loop_turn(loop, -1), 0);
    cr_assert_eq(p.fired, 1);
    ev_io_close(loop, &io);
    close(fds[1]);
    ev_loop_free(loop);
}

Test(ev_timer, costs_a_long_sleep_no_more_turns_than_the_wheel_has_levels)
{
    ev_loop *loop = test_loop();
    probe p = {.fired = 0};
    probe_start(loop, &p, 300);
    while (!p.fired)
        cr_assert_eq(ev_loop_turn(loop, -1), 0);
    cr_assert_leq(ev_loop_stats(loop)->turns, (uint64_t)WHEEL_LEVELS);
    ev_loop_free(loop);
}

static void on_repeat(ev_loop *loop, ev_timer *timer)
{
    (void)loop;
    (void)timer;
    fired++;
}

Test(ev_timer, repeats_until_it_is_stopped)
{
    ev_loop *loop = test_loop();
    ev_timer timer;
    ev_timer_init(&timer, on_repeat);
    ev_timer_start(loop, &timer, 1, 3);
    uint64_t began = ev_now_ns(loop);
    test_turn_until(loop, &fired, 10);
    cr_assert_geq(ev_now_ns(loop) - began, (1u + 9 * 3) * 1000000);
    ev_timer_stop(loop, &timer);
    int before = fired;
    cr_assert_eq(ev_loop_turn(loop, 10), 0);
    cr_assert_eq(fired, before);
    ev_loop_free(loop);
}

Test(ev_timer, that_repeats_late_does_not_catch_up)
{
    ev_loop *loop = test_loop();
    ev_timer timer;
    ev_timer_init(&timer, on_repeat);
    ev_timer_start(loop, &timer, 2, 2);
    test_spin_ms(30);
    test_turn(loop);
    cr_assert_eq(fired, 1);
    cr_assert_geq(timer.at_ms, ev_now_ms(loop) + 2);
    ev_timer_stop(loop, &timer);
    ev_loop_free(loop);
}

/* --- a wheel turned by hand ------------------------------------------------------------------- */

/* Time is what the test says: the turns below are the timers' step alone. */
static void turn_at(ev_loop *loop, int64_t ms)
{
    loop->now_ms = ms;
    loop->now_ns = (uint64_t)ms * 1000000;
    timers_begin(loop);
    timers_run(loop);
}

static ev_loop *loop_at(int64_t ms)
{
    ev_loop *loop = test_loop();
    turn_at(loop, ms);
    return loop;
}

Test(ev_timer, rounds_up_where_the_clock_is_between_two_ticks)
{
    ev_loop *loop = loop_at(1000);
    probe p = {.fired = 0};
    loop->now_ns = 1000 * 1000000ull + 1;
    probe_start(loop, &p, 5);
    turn_at(loop, 1005);
    cr_assert_eq(p.fired, 0);
    turn_at(loop, 1006);
    cr_assert_eq(p.fired, 1);
    ev_loop_free(loop);
}

Test(ev_timer, fires_those_of_one_deadline_in_the_order_of_their_starts)
{
    enum { N = 6 };
    static const int64_t starts_ms[N] = {1, 900, 4000, 4095, 4096, 4099};
    ev_loop *loop = loop_at(0);
    probe probes[N] = {0};
    for (int i = 0; i < N; i++) {
        turn_at(loop, starts_ms[i]);
        probe_start(loop, &probes[i], (int)(4100 - starts_ms[i]));
    }
    turn_at(loop, 10000);
    for (int i = 0; i < N; i++)
        cr_assert_eq(probes[i].order, i);
    ev_loop_free(loop);
}

Test(ev_timer, fires_late_ones_and_those_without_delay_in_the_order_of_deadlines)
{
    ev_loop *loop = loop_at(100);
    probe on_wheel_early = {0}, on_wheel_equal = {0}, on_wheel_late = {0}, soon = {0};
    probe_start(loop, &on_wheel_late, 60);
    probe_start(loop, &on_wheel_early, 20);
    probe_start(loop, &on_wheel_equal, 50);
    loop->now_ms = 150; /* as ev_now_update would */
    probe_start(loop, &soon, 0);
    turn_at(loop, 170);
    cr_assert_eq(on_wheel_early.order, 0);
    cr_assert_eq(on_wheel_equal.order, 1);
    cr_assert_eq(soon.order, 2);
    cr_assert_eq(on_wheel_late.order, 3);
    ev_loop_free(loop);
}

Test(ev_timer, takes_a_negative_delay_for_none_and_a_huge_one_for_the_longest)
{
    ev_loop *loop = loop_at(5000);
    ev_timer timer;
    ev_timer_init(&timer, on_repeat);
    ev_timer_start(loop, &timer, INT64_MIN, -1);
    turn_at(loop, 5000);
    cr_assert_eq(fired, 1);
    cr_assert_not(ev_timer_active(&timer), "a negative repeat is none");
    ev_timer_start(loop, &timer, INT64_MAX, 0);
    cr_assert_eq(timer.at_ms, 5000 + EV_TIMER_MAX_MS);
    turn_at(loop, 5000 + EV_TIMER_MAX_MS - 1);
    cr_assert_eq(fired, 1);
    turn_at(loop, 5000 + EV_TIMER_MAX_MS);
    cr_assert_eq(fired, 2);
    ev_loop_free(loop);
}

Test(ev_timer, repeats_on_the_beat_of_its_first_deadline)
{
    ev_loop *loop = loop_at(0);
    ev_timer timer;
    ev_timer_init(&timer, on_repeat);
    ev_timer_start(loop, &timer, 10, 100);
    turn_at(loop, 15);
    cr_assert_eq(timer.at_ms, 110);
    turn_at(loop, 113);
    cr_assert_eq(timer.at_ms, 210);
    turn_at(loop, 450);
    cr_assert_eq(timer.at_ms, 550);
    cr_assert_eq(fired, 3);
    ev_timer_stop(loop, &timer);
    ev_loop_free(loop);
}

/* The reference: for each timer when it is due, and in which order it was started. */
typedef struct model {
    ev_timer timer;
    int64_t due_ms; /* -1: stopped */
    int started;
} model;

static int starts;
static int64_t last_due_ms;
static int last_started;
static int64_t model_now_ms;
static int disorder, untimely;

static void on_model(ev_loop *loop, ev_timer *timer)
{
    (void)loop;
    model *m = CONTAINER_OF(timer, model, timer);
    if (m->due_ms < 0 || m->due_ms > model_now_ms)
        untimely++;
    if (m->due_ms < last_due_ms || (m->due_ms == last_due_ms && m->started < last_started))
        disorder++;
    last_due_ms = m->due_ms;
    last_started = m->started;
    m->due_ms = -1;
    fired++;
}

/* Of any magnitude up to a year, so that all levels of the wheel are used. */
static int64_t random_delay_ms(void)
{
    return 1 + (int64_t)(((uint64_t)rand() << 15 ^ (uint64_t)rand()) & ((2ull << rand() % 35) - 1));
}

Test(ev_timer, agrees_with_a_simple_model_over_centuries)
{
    enum { N = 500, ROUNDS = 20000 };
    ev_loop *loop = loop_at(0);
    model *models = calloc(N, sizeof(*models));
    for (int i = 0; i < N; i++) {
        ev_timer_init(&models[i].timer, on_model);
        models[i].due_ms = -1;
    }
    srand(1);
    int overlooked = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int k = 0; k < 4; k++) {
            model *m = &models[rand() % N];
            if (rand() % 4 == 0) {
                m->due_ms = -1;
                ev_timer_stop(loop, &m->timer);
            } else {
                int64_t delay_ms = random_delay_ms();
                m->due_ms = model_now_ms + delay_ms;
                m->started = starts++;
                ev_timer_start(loop, &m->timer, delay_ms, 0);
            }
        }
        /* To where the wheel wants to be looked at, just before it, or anywhere. */
        int64_t next_ms = timers_next_ms(loop);
        int64_t to_ms = model_now_ms + random_delay_ms() / 16;
        if (next_ms >= 0 && rand() % 2)
            to_ms = next_ms - rand() % 2;
        model_now_ms = to_ms > model_now_ms ? to_ms : model_now_ms;
        last_due_ms = -1;
        turn_at(loop, model_now_ms);
        if (round % 64)
            continue;
        for (int i = 0; i < N; i++)
            overlooked += models[i].due_ms >= 0 && models[i].due_ms <= model_now_ms;
        for (int i = 0; i < N; i++)
            overlooked += (models[i].due_ms >= 0) != ev_timer_active(&models[i].timer);
    }
    cr_assert_eq(untimely, 0);
    cr_assert_eq(disorder, 0);
    cr_assert_eq(overlooked, 0);
    cr_assert_gt(fired, ROUNDS / 4);
    free(models);
    ev_loop_free(loop);
}

Test(ev_timer, is_never_asked_to_look_later_than_the_next_deadline)
{
    ev_loop *loop = loop_at(77);
    probe p = {0};
    for (int i = 0; i < 2000; i++) {
        int64_t begin_ms = loop->now_ms;
        probe_start(loop, &p, (int)(random_delay_ms() & 0x3fffffff) + 1);
        int looks = 0;
        p.fired = 0;
        while (!p.fired) {
            int64_t next_ms = timers_next_ms(loop);
            cr_assert(next_ms >= begin_ms && next_ms <= p.timer.at_ms);
            turn_at(loop, next_ms);
            cr_assert_leq(++looks, WHEEL_LEVELS);
        }
        cr_assert_eq(loop->now_ms, p.timer.at_ms);
        cr_assert_eq(timers_next_ms(loop), -1);
    }
    ev_loop_free(loop);
}

/* --- timers that change timers ---------------------------------------------------------------- */

static ev_timer *victim;

static void stop_victim(ev_loop *loop, ev_timer *timer)
{
    (void)timer;
    ev_timer_stop(loop, victim);
}

Test(ev_timer, can_stop_one_that_is_due_in_the_same_turn)
{
    static const int64_t victims_delay_ms[] = {5, 7, 100};
    for (int i = 0; i < 3; i++) {
        ev_loop *loop = loop_at(1000);
        ev_timer first;
        probe second = {0};
        ev_timer_init(&first, stop_victim);
        ev_timer_start(loop, &first, 5, 0);
        probe_start(loop, &second, (int)victims_delay_ms[i]);
        victim = &second.timer;
        turn_at(loop, 2000);
        cr_assert_eq(second.fired, 0);
        cr_assert_eq(ev_loop_stats(loop)->timers, 0u);
        cr_assert_eq(timers_next_ms(loop), -1);
        ev_loop_free(loop);
    }
}

static void restart_victim(ev_loop *loop, ev_timer *timer)
{
    (void)timer;
    ev_timer_start(loop, victim, 50, 0);
}

Test(ev_timer, can_put_off_one_that_is_due_in_the_same_turn)
{
    ev_loop *loop = loop_at(1000);
    ev_timer first;
    probe second = {0};
    ev_timer_init(&first, restart_victim);
    ev_timer_start(loop, &first, 5, 0);
    probe_start(loop, &second, 5);
    victim = &second.timer;
    turn_at(loop, 1020);
    cr_assert_eq(second.fired, 0);
    turn_at(loop, 1070);
    cr_assert_eq(second.fired, 1);
    ev_loop_free(loop);
}

static void stop_self(ev_loop *loop, ev_timer *timer)
{
    fired++;
    ev_timer_stop(loop, timer);
    ev_timer_stop(loop, timer);
}

Test(ev_timer, can_stop_itself_though_it_repeats)
{
    ev_loop *loop = loop_at(0);
    ev_timer timer;
    ev_timer_init(&timer, stop_self);
    ev_timer_start(loop, &timer, 5, 5);
    turn_at(loop, 5);
    turn_at(loop, 50);
    cr_assert_eq(fired, 1);
    cr_assert_eq(ev_loop_stats(loop)->timers, 0u);
    ev_loop_free(loop);
}

static void restart_self(ev_loop *loop, ev_timer *timer)
{
    if (++fired < 3)
        ev_timer_start(loop, timer, 7, 0);
}

Test(ev_timer, can_start_itself_again)
{
    ev_loop *loop = loop_at(0);
    ev_timer timer;
    ev_timer_init(&timer, restart_self);
    ev_timer_start(loop, &timer, 7, 1000);
    turn_at(loop, 7);
    turn_at(loop, 13);
    cr_assert_eq(fired, 1);
    turn_at(loop, 14);
    turn_at(loop, 21);
    turn_at(loop, 9999);
    cr_assert_eq(fired, 3);
    cr_assert_not(ev_timer_active(&timer));
    ev_loop_free(loop);
}

static void free_self(ev_loop *loop, ev_timer *timer)
{
    ev_timer_stop(loop, timer);
    free(timer);
    fired++;
}

Test(ev_timer, can_be_freed_by_its_own_callback)
{
    ev_loop *loop = loop_at(0);
    for (int i = 0; i < 10; i++) {
        ev_timer *timer = malloc(sizeof(*timer));
        ev_timer_init(timer, free_self);
        ev_timer_start(loop, timer, i % 3, i % 2);
    }
    turn_at(loop, 100);
    cr_assert_eq(fired, 10);
    cr_assert_eq(ev_loop_stats(loop)->timers, 0u);
    ev_loop_free(loop);
}

/* --- many ------------------------------------------------------------------------------------- */

Test(ev_timer, arms_and_cancels_a_million)
{
    enum { N = 1000 * 1000 };
    ev_loop *loop = loop_at(12345);
    ev_timer *timers = malloc(N * sizeof(*timers));
    for (int i = 0; i < N; i++) {
        ev_timer_init(&timers[i], on_repeat);
        ev_timer_start(loop, &timers[i], 1 + (int64_t)i * 7919 % 600000, 0);
    }
    cr_assert_eq(ev_loop_stats(loop)->timers, (uint64_t)N);
    for (int i = 0; i < N; i += 2)
        ev_timer_stop(loop, &timers[i]);
    cr_assert_eq(ev_loop_stats(loop)->timers, (uint64_t)N / 2);
    for (int64_t ms = 12345; ms <= 12345 + 600000; ms += 1000)
        turn_at(loop, ms);
    cr_assert_eq(fired, N / 2);
    cr_assert_eq(ev_loop_stats(loop)->timers, 0u);
    free(timers);
    ev_loop_free(loop);
}

Test(ev_timer, is_small_enough_for_every_connection) { cr_assert_leq(sizeof(ev_timer), 48u); }
