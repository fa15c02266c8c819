#include <pthread.h>

#include "ev_test.h"

typedef struct counter {
    ev_async async;
    int calls;
} counter;

static void on_async(ev_loop *loop, ev_async *async)
{
    (void)loop;
    CONTAINER_OF(async, counter, async)->calls++;
}

static void *send_once(void *async)
{
    ev_async_send(async);
    return NULL;
}

Test(ev_async, wakes_a_loop_that_sleeps)
{
    ev_loop *loop = test_loop();
    counter c = {.calls = 0};
    pthread_t thread;
    ev_async_start(loop, &c.async, on_async);
    cr_assert_eq(pthread_create(&thread, NULL, send_once, &c.async), 0);
    test_turn_until(loop, &c.calls, 1);
    pthread_join(thread, NULL);
    ev_async_stop(loop, &c.async);
    ev_loop_free(loop);
}

Test(ev_async, folds_sends_into_one_call)
{
    ev_loop *loop = test_loop();
    counter c = {.calls = 0}, other = {.calls = 0};
    ev_async_start(loop, &c.async, on_async);
    ev_async_start(loop, &other.async, on_async);
    for (int i = 0; i < 1000; i++)
        ev_async_send(&c.async);
    cr_assert_eq(ev_loop_turn(loop, -1), 0);
    test_settle(loop);
    cr_assert_eq(c.calls, 1);
    cr_assert_eq(other.calls, 0);
    ev_async_send(&c.async);
    test_turn_until(loop, &c.calls, 2);
    ev_async_stop(loop, &c.async);
    ev_async_stop(loop, &other.async);
    ev_loop_free(loop);
}

/* What the senders count up before they send must be seen in the end: no send is lost. */
enum { THREADS = 8, SENDS = 20000 };

static counter shared;
static int sent;      /* atomic */
static int sent_seen; /* by the latest callback */

static void see_sent(ev_loop *loop, ev_async *async)
{
    on_async(loop, async);
    sent_seen = __atomic_load_n(&sent, __ATOMIC_SEQ_CST);
}

static void *send_often(void *unused)
{
    (void)unused;
    for (int i = 0; i < SENDS; i++) {
        __atomic_add_fetch(&sent, 1, __ATOMIC_SEQ_CST);
        ev_async_send(&shared.async);
    }
    return NULL;
}

Test(ev_async, loses_no_send_of_many_threads)
{
    ev_loop *loop = test_loop();
    pthread_t threads[THREADS];
    ev_async_start(loop, &shared.async, see_sent);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, send_often, NULL), 0);
    test_turn_until(loop, &sent_seen, THREADS * SENDS);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cr_assert_leq(shared.calls, THREADS * SENDS);
    ev_async_stop(loop, &shared.async);
    ev_loop_free(loop);
}

static counter *peers;
static int calls;

static void stop_all(ev_loop *loop, ev_async *async)
{
    (void)async;
    calls++;
    for (int i = 0; i < 3; i++)
        ev_async_stop(loop, &peers[i].async);
}

Test(ev_async, can_be_stopped_by_any_callback_and_twice)
{
    ev_loop *loop = test_loop();
    peers = calloc(3, sizeof(*peers));
    for (int i = 0; i < 3; i++) {
        ev_async_start(loop, &peers[i].async, stop_all);
        ev_async_send(&peers[i].async);
    }
    cr_assert_eq(ev_loop_turn(loop, -1), 0);
    cr_assert_eq(calls, 1);
    ev_async_stop(loop, &peers[0].async);
    free(peers);
    ev_async zero = {.pending = 0};
    ev_async_stop(loop, &zero);
    ev_loop_free(loop);
}

static void send_to_self(ev_loop *loop, ev_async *async)
{
    (void)loop;
    calls++;
    ev_async_send(async);
}

Test(ev_async, that_sends_itself_is_called_once_a_turn)
{
    ev_loop *loop = test_loop();
    ev_async async;
    ev_async_start(loop, &async, send_to_self);
    ev_async_send(&async);
    for (int i = 1; i <= 5; i++) {
        cr_assert_eq(ev_loop_turn(loop, -1), 0);
        cr_assert_eq(calls, i);
    }
    ev_async_stop(loop, &async);
    ev_loop_free(loop);
}

Test(ev_async, does_not_keep_the_loop_running)
{
    ev_loop *loop = test_loop();
    counter c = {.calls = 0};
    ev_async_start(loop, &c.async, on_async);
    cr_assert_eq(ev_loop_run(loop), 0);
    ev_async_stop(loop, &c.async);
    ev_loop_free(loop);
}
