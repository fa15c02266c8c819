#include <pthread.h>
#include <signal.h>

#include "ev_test.h"

typedef struct counter {
    ev_signal signal;
    int calls;
} counter;

static void on_signal(ev_loop *loop, ev_signal *watcher)
{
    (void)loop;
    CONTAINER_OF(watcher, counter, signal)->calls++;
}

static void watch(ev_loop *loop, counter *c, int signum)
{
    cr_assert_eq(ev_signal_start(loop, &c->signal, signum, on_signal), 0);
}

static int former_calls;

static void former_action(int signum)
{
    (void)signum;
    former_calls++;
}

Test(ev_signal, tells_every_watcher_in_the_next_turn)
{
    ev_loop *loop = test_loop();
    counter one = {.calls = 0}, two = {.calls = 0}, other = {.calls = 0};
    watch(loop, &one, SIGUSR1);
    watch(loop, &two, SIGUSR1);
    watch(loop, &other, SIGUSR2);
    raise(SIGUSR1);
    cr_assert_eq(one.calls, 0, "called by the handler");
    cr_assert_eq(ev_loop_turn(loop, -1), 0);
    cr_assert_eq(one.calls, 1);
    cr_assert_eq(two.calls, 1);
    cr_assert_eq(other.calls, 0);
    ev_signal_stop(loop, &one.signal);
    raise(SIGUSR1);
    cr_assert_eq(ev_loop_turn(loop, -1), 0);
    cr_assert_eq(one.calls, 1);
    cr_assert_eq(two.calls, 2);
    ev_signal_stop(loop, &two.signal);
    ev_signal_stop(loop, &other.signal);
    ev_loop_free(loop);
}

static void *kill_soon(void *unused)
{
    (void)unused;
    kill(getpid(), SIGUSR1);
    return NULL;
}

Test(ev_signal, wakes_a_loop_that_sleeps)
{
    ev_loop *loop = test_loop();
    counter c = {.calls = 0};
    pthread_t thread;
    watch(loop, &c, SIGUSR1);
    cr_assert_eq(pthread_create(&thread, NULL, kill_soon, NULL), 0);
    test_turn_until(loop, &c.calls, 1);
    pthread_join(thread, NULL);
    ev_signal_stop(loop, &c.signal);
    ev_loop_free(loop);
}

/* The number that was counted up before the latest signal must be seen: none is lost. */
enum { STORM = 5000 };

static int sent; /* atomic */
static int sent_seen;
static int storm_calls;

static void see_sent(ev_loop *loop, ev_signal *watcher)
{
    (void)loop;
    (void)watcher;
    storm_calls++;
    sent_seen = __atomic_load_n(&sent, __ATOMIC_SEQ_CST);
}

static void *storm(void *unused)
{
    (void)unused;
    for (int i = 0; i < STORM; i++) {
        __atomic_add_fetch(&sent, 1, __ATOMIC_SEQ_CST);
        kill(getpid(), SIGUSR1);
    }
    return NULL;
}

Test(ev_signal, survives_a_storm_and_sees_its_end)
{
    ev_loop *loop = test_loop();
    ev_signal signal;
    pthread_t thread;
    cr_assert_eq(ev_signal_start(loop, &signal, SIGUSR1, see_sent), 0);
    cr_assert_eq(pthread_create(&thread, NULL, storm, NULL), 0);
    test_turn_until(loop, &sent_seen, STORM);
    pthread_join(thread, NULL);
    cr_assert_leq(storm_calls, STORM);
    ev_signal_stop(loop, &signal);
    ev_loop_free(loop);
}

static counter *all;

static void stop_all(ev_loop *loop, ev_signal *watcher)
{
    (void)watcher;
    former_calls++;
    for (int i = 0; i < 3; i++)
        ev_signal_stop(loop, &all[i].signal);
}

Test(ev_signal, can_be_stopped_by_any_callback_and_twice)
{
    ev_loop *loop = test_loop();
    all = calloc(3, sizeof(*all));
    for (int i = 0; i < 3; i++)
        cr_assert_eq(ev_signal_start(loop, &all[i].signal, SIGUSR1, stop_all), 0);
    raise(SIGUSR1);
    cr_assert_eq(ev_loop_turn(loop, -1), 0);
    cr_assert_eq(former_calls, 1);
    ev_signal_stop(loop, &all[1].signal);
    free(all);
    ev_signal zero = {.signum = 0};
    ev_signal_stop(loop, &zero);
    ev_loop_free(loop);
}

Test(ev_signal, gives_the_former_action_back_with_its_last_watcher)
{
    ev_loop *loop = test_loop();
    counter one = {.calls = 0}, two = {.calls = 0};
    signal(SIGUSR1, former_action);
    watch(loop, &one, SIGUSR1);
    watch(loop, &two, SIGUSR1);
    ev_signal_stop(loop, &one.signal);
    raise(SIGUSR1);
    cr_assert_eq(former_calls, 0);
    ev_signal_stop(loop, &two.signal);
    raise(SIGUSR1);
    cr_assert_eq(former_calls, 1);
    ev_loop_free(loop);
}

Test(ev_signal, leaves_no_handler_behind_when_the_loop_is_freed)
{
    ev_loop *loop = test_loop();
    counter c = {.calls = 0};
    signal(SIGUSR1, former_action);
    watch(loop, &c, SIGUSR1);
    ev_loop_free(loop);
    raise(SIGUSR1);
    cr_assert_eq(former_calls, 1);
}

Test(ev_signal, is_taken_by_one_loop_at_a_time)
{
    ev_loop *loop = test_loop(), *second = test_loop();
    counter c = {.calls = 0}, d = {.calls = 0};
    watch(loop, &c, SIGUSR1);
    cr_assert_eq(ev_signal_start(second, &d.signal, SIGUSR2, on_signal), -EBUSY);
    ev_signal_stop(second, &d.signal);
    ev_signal_stop(loop, &c.signal);
    watch(second, &d, SIGUSR2);
    raise(SIGUSR2);
    test_turn_until(second, &d.calls, 1);
    ev_signal_stop(second, &d.signal);
    ev_loop_free(second);
    ev_loop_free(loop);
}

Test(ev_signal, refuses_signals_that_cannot_be_watched)
{
    static const int bad[] = {-1,      0,       NSIG,   100000, SIGKILL,
                              SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    ev_loop *loop = test_loop(), *second = test_loop();
    ev_signal signal;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(ev_signal_start(loop, &signal, bad[i], on_signal), -EINVAL, "%d", bad[i]);
    counter c = {.calls = 0};
    watch(second, &c, SIGUSR1); /* the failures have not left the first loop in charge */
    ev_signal_stop(second, &c.signal);
    ev_loop_free(second);
    ev_loop_free(loop);
}
