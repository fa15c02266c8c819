/*
 * The loop: the seven steps of a turn (ev.h), and who keeps it turning.
 *
 * The clock is read twice a turn, after the wait and at the end. The second reading closes the
 * measurement of the busy part and is what the next wait counts its sleep from.
 */
#include "loop.h"

#include <assert.h>
#include <limits.h>
#include <time.h>

#include "base/mem.h"

enum { NS_PER_US = 1000, NS_PER_MS = 1000 * 1000 };

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 * NS_PER_MS + (uint64_t)now.tv_nsec;
}

static void set_now(ev_loop *loop, uint64_t ns)
{
    loop->now_ns = ns;
    loop->now_ms = (int64_t)(ns / NS_PER_MS);
}

ev_loop *ev_loop_new(void)
{
    ev_poll *poll = poll_open();
    if (!poll)
        return NULL;
    ev_loop *loop = mem_new(ev_loop);
    loop->poll = poll;
    loop->releases_end = &loop->releases;
    set_now(loop, clock_ns());
    loop->busy_until_ns = loop->now_ns;
    io_init(loop);
    timers_init(loop);
    asyncs_init(loop);
    return loop;
}

static void release_all(ev_loop *loop)
{
    while (loop->releases) {
        ev_release *release = loop->releases;
        loop->releases = release->next;
        if (!loop->releases)
            loop->releases_end = &loop->releases;
        release->fn(release);
    }
}

void ev_loop_free(ev_loop *loop)
{
    if (!loop)
        return;
    assert(!loop->turning);
    release_all(loop);
    pool_deinit(loop);
    release_all(loop); /* what the pool's last callbacks have closed */
    children_deinit(loop);
    signals_deinit(loop);
    io_deinit(loop);
    poll_close(loop->poll);
    mem_free(loop);
}

/* --- the turn ------------------------------------------------------------------------------ */

/* How long the wait may sleep: not at all while there is something to do, else until the nearest
 * deadline, and in no case longer than `max_wait_ms`. */
static int64_t sleep_ns(const ev_loop *loop, int max_wait_ms)
{
    if (loop->again || loop->releases)
        return 0;
    int64_t limit = max_wait_ms < 0 ? -1 : (int64_t)max_wait_ms * NS_PER_MS;
    int64_t next_ms = timers_next_ms(loop);
    if (next_ms < 0)
        return limit;
    int64_t left = next_ms * NS_PER_MS - (int64_t)loop->busy_until_ns;
    if (left < 0)
        left = 0;
    return limit < 0 || left < limit ? left : limit;
}

/* Forgets that we were woken, and only then looks for what for: see async.c. */
static void dispatch_wakes(ev_loop *loop)
{
    if (!__atomic_load_n(&loop->wake_sent, __ATOMIC_SEQ_CST))
        return;
    __atomic_store_n(&loop->wake_sent, 0, __ATOMIC_SEQ_CST);
    signals_dispatch(loop);
    asyncs_dispatch(loop);
}

/* Buckets are powers of two of a microsecond; the last one takes everything above. */
static void note_busy(ev_stats *stats, uint64_t ns)
{
    uint64_t us = ns / NS_PER_US;
    int bucket = us < 2 ? 0 : 63 - __builtin_clzll(us);
    stats->lag[bucket < EV_LAG_BUCKETS ? bucket : EV_LAG_BUCKETS - 1]++;
    if (ns > stats->longest_ns)
        stats->longest_ns = ns;
    stats->busy_ns += ns;
    stats->turns++;
}

int ev_loop_turn(ev_loop *loop, int max_wait_ms)
{
    assert(!loop->turning);
    int n = poll_wait(loop->poll, loop->events, LOOP_BATCH, sleep_ns(loop, max_wait_ms));
    uint64_t begin_ns = clock_ns();
    set_now(loop, begin_ns);
    if (n < 0)
        return n;

    loop->turning = true;
    loop->again = false;
    loop->run_to_come = true;
    timers_begin(loop);
    io_dispatch(loop, loop->events, n);
    dispatch_wakes(loop);
    timers_run(loop);
    if (loop->run && loop->run(loop, loop->run_arg))
        loop->again = true;
    loop->run_to_come = false;
    if (loop->flush)
        loop->flush(loop, loop->flush_arg);
    release_all(loop);
    loop->turning = false;

    loop->busy_until_ns = clock_ns();
    note_busy(&loop->stats, loop->busy_until_ns - begin_ns);
    return 0;
}

int ev_loop_run(ev_loop *loop)
{
    int rc = 0;
    loop->again = true; /* what became ready before the first turn is told by nobody */
    while (!loop->stopped) {
        /* Without references there is nothing to sleep for, but what is ready is run first. */
        rc = ev_loop_turn(loop, loop->refs > 0 ? -1 : 0);
        if (rc < 0 || (loop->refs == 0 && !loop->again))
            break;
    }
    loop->stopped = false;
    return rc;
}

void ev_loop_stop(ev_loop *loop) { loop->stopped = true; }

void ev_loop_again(ev_loop *loop) { loop->again = true; }

void ev_loop_ready(ev_loop *loop)
{
    if (!loop->run_to_come)
        loop->again = true;
}

void loop_wake(ev_loop *loop)
{
    if (!__atomic_exchange_n(&loop->wake_sent, 1, __ATOMIC_SEQ_CST))
        poll_wake(loop->poll);
}

/* --- the clock, the references, the hooks --------------------------------------------------- */

int64_t ev_now_ms(const ev_loop *loop) { return loop->now_ms; }

uint64_t ev_now_ns(const ev_loop *loop) { return loop->now_ns; }

int64_t ev_now_update(ev_loop *loop)
{
    set_now(loop, clock_ns());
    return loop->now_ms;
}

void ev_ref(ev_loop *loop)
{
    assert(loop->refs < INT_MAX);
    loop->refs++;
}

void ev_unref(ev_loop *loop)
{
    assert(loop->refs > 0);
    loop->refs--;
}

int ev_refs(const ev_loop *loop) { return loop->refs; }

void ev_loop_on_run(ev_loop *loop, bool (*run)(ev_loop *loop, void *arg), void *arg)
{
    loop->run = run;
    loop->run_arg = arg;
}

void ev_loop_on_flush(ev_loop *loop, void (*flush)(ev_loop *loop, void *arg), void *arg)
{
    loop->flush = flush;
    loop->flush_arg = arg;
}

void ev_release_later(ev_loop *loop, ev_release *release, void (*fn)(ev_release *release))
{
    release->next = NULL;
    release->fn = fn;
    *loop->releases_end = release;
    loop->releases_end = &release->next;
}

const ev_stats *ev_loop_stats(ev_loop *loop) { return &loop->stats; }

void ev_loop_stats_reset(ev_loop *loop) { loop->stats.longest_ns = 0; }
