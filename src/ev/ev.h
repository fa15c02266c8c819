/*
 * The reactor: one loop, its watchers, and the turn it makes.
 *
 *   1 wait    sleep until an event or the nearest deadline
 *   2 now     read the clock once
 *   3 events  watchers' callbacks; they record and wake, no Lua runs here
 *   4 timers  those that are due, in the order of their deadlines
 *   5 run     a hook: the scheduler resumes what is ready
 *   6 flush   a hook: the streams write what was queued
 *   7 release what was closed during this turn is freed
 *
 * Everything here belongs to the loop's own thread, but for ev_async_send.
 * Watchers are embedded in what they serve and allocate nothing. Every start is undone by a stop,
 * and stopping what is stopped already, or all zero and never started, does nothing (but timers
 * need ev_timer_init).
 */
#ifndef LINKS_EV_EV_H
#define LINKS_EV_EV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"

typedef struct ev_loop ev_loop;

/* --- the loop ------------------------------------------------------------------------------ */

/* A new loop; NULL with errno set where the system has no descriptor left for it. */
ev_loop *ev_loop_new(void);

/* Frees the loop. Its watchers must have been stopped. Work that runs in the pool is waited for,
 * work that waits is canceled, and their `done` comes; pending releases are carried out. */
void ev_loop_free(ev_loop *loop);

/* Turns until ev_loop_stop, or until nothing referenced is left (see ev_ref) and nothing is ready
 * to run. The first turn does not sleep, and one is made even where nothing is referenced. Returns
 * 0, or -errno when waiting failed for good. */
int ev_loop_run(ev_loop *loop);

/* One turn. It sleeps at most `max_wait_ms` (-1: as long as it takes). Returns 0 or -errno. */
int ev_loop_turn(ev_loop *loop, int max_wait_ms);

/* Makes ev_loop_run return at the end of this turn. */
void ev_loop_stop(ev_loop *loop);

/* The time of this turn, on a monotonic clock: it is read once a turn. */
int64_t ev_now_ms(const ev_loop *loop);
uint64_t ev_now_ns(const ev_loop *loop);

/* Reads the clock now, for who has computed long since the turn began, and returns ev_now_ms. */
int64_t ev_now_update(ev_loop *loop);

/* What keeps ev_loop_run going: handles and waits that can still make something happen. */
void ev_ref(ev_loop *loop);
void ev_unref(ev_loop *loop);
int ev_refs(const ev_loop *loop);

/* Step 5. `run` returns true while it has more to run: the next wait does not sleep then. */
void ev_loop_on_run(ev_loop *loop, bool (*run)(ev_loop *loop, void *arg), void *arg);

/* Step 6. */
void ev_loop_on_flush(ev_loop *loop, void (*flush)(ev_loop *loop, void *arg), void *arg);

/* Somebody has become ready to run: there will be a run step before the loop sleeps. Cheap, and
 * costs nothing where this turn's run step is still to come. */
void ev_loop_ready(ev_loop *loop);

/* Makes the next wait not sleep: there is something to do that no watcher will tell of. */
void ev_loop_again(ev_loop *loop);

/* --- I/O ----------------------------------------------------------------------------------- */

enum {
    EV_READ = 1,  /* there may be something to read: read until EAGAIN, nobody tells twice */
    EV_WRITE = 2, /* there may be room to write */
    EV_EOF = 4,   /* the peer has shut its side down, or there is an error; EV_READ comes with it */
};

typedef struct ev_io ev_io;
typedef void ev_io_cb(ev_loop *loop, ev_io *io, int events);

struct ev_io {
    ev_io_cb *cb;
    int fd; /* -1 while stopped */
};

/* Watches `fd`, edge-triggered in both directions, once for its whole life: a file descriptor is
 * registered here and never again. What is ready already is told in the next turn. Returns 0 or
 * -errno (EEXIST where it is watched, EPERM for a plain file, ENOMEM, ENOSPC). */
int ev_io_start(ev_loop *loop, ev_io *io, int fd, ev_io_cb *cb);

/* The descriptor that `from` watches is watched by `to` from now on, and `from` is stopped. No
 * system call, and nothing that was not told yet is lost. */
void ev_io_move(ev_loop *loop, ev_io *to, ev_io *from, ev_io_cb *cb);

/* Ends the watch and leaves the descriptor open. No callback comes after this. */
void ev_io_stop(ev_loop *loop, ev_io *io);

/* While `on`, nothing is told of what comes in, only of room and of errors; afterwards, what is
 * ready then is told. For who can take nothing for a while: each byte that comes would wake the
 * loop for nothing. A system call each time. Returns 0 or -errno. */
int ev_io_mute(ev_loop *loop, ev_io *io, bool on);

/* Ends the watch and closes the descriptor; nothing to close where it is stopped. Cheaper than
 * ev_io_stop and close, by a system call. */
void ev_io_close(ev_loop *loop, ev_io *io);

/* --- timers -------------------------------------------------------------------------------- */

typedef struct ev_timer ev_timer;
typedef void ev_timer_cb(ev_loop *loop, ev_timer *timer);

struct ev_timer {
    list link; /* in its slot of the wheel */
    ev_timer_cb *cb;
    int64_t at_ms;
    int32_t repeat_ms; /* 0: once */
    int16_t slot;      /* -1 while stopped */
};

/* The longest delay, 34 years: a longer one is taken for this. */
#define EV_TIMER_MAX_MS ((int64_t)1 << 40)

/* Makes a timer that is stopped. */
void ev_timer_init(ev_timer *timer, ev_timer_cb *cb);

/* (Re)arms it to fire in the first turn that begins `delay_ms` or more from now, never earlier,
 * and then every `repeat_ms` if that is more than 0 (a late repeat does not catch up: it fires
 * once and goes on from there). A delay of 0 or less means the next turn, so I/O is polled before
 * it fires. O(1). "Now" is the turn's time: call ev_now_update first where that matters. */
void ev_timer_start(ev_loop *loop, ev_timer *timer, int64_t delay_ms, int32_t repeat_ms);

/* Disarms it; harmless on a stopped timer. O(1). */
void ev_timer_stop(ev_loop *loop, ev_timer *timer);

bool ev_timer_active(const ev_timer *timer);

/* --- signals, children --------------------------------------------------------------------- */

typedef struct ev_signal ev_signal;

struct ev_signal {
    list link;
    void (*cb)(ev_loop *loop, ev_signal *watcher);
    int signum;
};

/* Calls `cb` in the loop's events step when the process gets `signum`; several watchers may share
 * one, and a storm of signals is one call. While one watches, the signal's default action is off.
 * One loop of the process at a time takes signals: -EBUSY for a second. -EINVAL for a signal that
 * cannot be caught, or that reports a fault (SIGSEGV and its kin come again at once). */
int ev_signal_start(ev_loop *loop, ev_signal *watcher, int signum,
                    void (*cb)(ev_loop *loop, ev_signal *watcher));

/* Ends the watch; with the last watcher the signal's former action comes back. */
void ev_signal_stop(ev_loop *loop, ev_signal *watcher);

typedef struct ev_child ev_child;

struct ev_child {
    list link;
    void (*cb)(ev_loop *loop, ev_child *child, int status); /* status as of waitpid */
    pid_t pid;
    int status;
    bool unrefd;
};

/* Reaps the child `pid` when it ends, and only it, and calls `cb` once; the watch has ended then.
 * A child that has ended already is reported in the next turn; one that somebody else has reaped,
 * with status -1. The watch is a reference on the loop (ev_ref). Returns 0, -ECHILD where it is no
 * child of ours, -EEXIST where it is watched, or as ev_signal_start does, for it takes SIGCHLD. */
int ev_child_start(ev_loop *loop, ev_child *child, pid_t pid,
                   void (*cb)(ev_loop *loop, ev_child *child, int status));

/* Makes a watch that is under way no reference on the loop. */
void ev_child_unref(ev_loop *loop, ev_child *child);

/* Ends the watch; the child will have to be reaped by somebody else. */
void ev_child_stop(ev_loop *loop, ev_child *child);

/* --- other threads ------------------------------------------------------------------------- */

typedef struct ev_async ev_async;

struct ev_async {
    list link;
    void (*cb)(ev_loop *loop, ev_async *async);
    ev_loop *loop;
    int pending; /* atomic */
};

/* A wake-up that any thread may send. Sends before the callback runs are folded into one. */
void ev_async_start(ev_loop *loop, ev_async *async, void (*cb)(ev_loop *loop, ev_async *async));
void ev_async_stop(ev_loop *loop, ev_async *async);
void ev_async_send(ev_async *async); /* any thread */

typedef struct ev_work ev_work;

struct ev_work {
    list link;
    void (*work)(ev_work *work);                /* on a thread of the pool; may block */
    void (*done)(ev_loop *loop, ev_work *work); /* on the loop's thread, always, once */
    int state;
    int result; /* for `done`: 0, or -ECANCELED where `work` was never run */
};

enum { EV_WORK_MAX_QUEUED = 1024 };

/* Hands `work` to the loop's thread pool, whose threads are made as they are needed. It is a
 * reference on the loop until `done`. Returns 0, -EAGAIN where EV_WORK_MAX_QUEUED wait already,
 * -ECANCELED while the loop is being freed, -EINVAL as ev_work_threads, or -errno where not even
 * one thread can be made; `done` does not come then. */
int ev_work_submit(ev_loop *loop, ev_work *work, void (*fn)(ev_work *work),
                   void (*done)(ev_loop *loop, ev_work *work));

/* Takes it back if it has not begun: `done` comes with -ECANCELED, in a later step or turn. False
 * if it has begun. */
bool ev_work_cancel(ev_loop *loop, ev_work *work);

/* How many threads the pool may have: LINKS_THREADS, 1 to 64, or 4 where that is not set; -EINVAL
 * where it is anything else, for who wants to say so early. */
int ev_work_threads(void);

/* --- deferred release ---------------------------------------------------------------------- */

typedef struct ev_release ev_release;

struct ev_release {
    ev_release *next;
    void (*fn)(ev_release *release);
};

/* Calls `fn` in step 7 of this turn, so that a callback may close anything, itself included. Where
 * no turn is under way, in the next one, which does not sleep. */
void ev_release_later(ev_loop *loop, ev_release *release, void (*fn)(ev_release *release));

/* --- seeing inside ------------------------------------------------------------------------- */

enum { EV_LAG_BUCKETS = 24 };

typedef struct ev_stats {
    uint64_t turns;
    uint64_t lag[EV_LAG_BUCKETS]; /* turns that were busy for [2^i, 2^(i+1)) microseconds */
    uint64_t longest_ns;          /* the longest busy turn so far */
    uint64_t busy_ns;             /* of all turns */
    uint64_t timers;              /* armed now */
    uint64_t ios;                 /* watched now */
} ev_stats;

const ev_stats *ev_loop_stats(ev_loop *loop);

/* Sets the longest turn back to zero, for who reports it at intervals. */
void ev_loop_stats_reset(ev_loop *loop);

#endif
