/*
 * What the files of the reactor know of each other: the inside of the loop, and the step that
 * each of them takes in a turn. Private to src/ev.
 */
#ifndef LINKS_EV_LOOP_H
#define LINKS_EV_LOOP_H

#include "ev/ev.h"
#include "ev/poll.h"

/* What the kernel knows of a descriptor is its number and the generation it was watched under,
 * never an address: an event that was meant for an earlier watcher of the same number is told by
 * its generation, and memory that is gone is never reached. */
typedef struct io_slot {
    ev_io *io; /* NULL while nobody watches */
    uint32_t generation;
} io_slot;

/* The timers' wheel: see timer.c. */
enum {
    WHEEL_BITS = 6,
    WHEEL_SLOTS = 1 << WHEEL_BITS,
    WHEEL_LEVELS = 7,
};

typedef struct wheel {
    int64_t tick_ms; /* every deadline on the wheel is this one or later */
    uint64_t occupied[WHEEL_LEVELS];
    list slots[WHEEL_LEVELS * WHEEL_SLOTS];
    list soon; /* started without a delay: for the next turn */
    list ripe; /* those of them that this turn is the next one for */
} wheel;

enum { LOOP_BATCH = 256 }; /* events taken from the system in one turn */

typedef struct ev_children ev_children; /* child.c */
typedef struct ev_pool ev_pool;         /* pool.c */

struct ev_loop {
    uint64_t now_ns;
    int64_t now_ms;
    uint64_t busy_until_ns; /* the clock at the end of the last turn */

    ev_poll *poll;
    int wake_sent; /* atomic: the system has been asked to wake us and we have not seen to it yet */
    int refs;
    bool again;
    bool run_to_come; /* in this turn */
    bool stopped;
    bool turning;

    bool (*run)(ev_loop *loop, void *arg);
    void *run_arg;
    void (*flush)(ev_loop *loop, void *arg);
    void *flush_arg;

    io_slot *io_slots; /* indexed by descriptor */
    int io_slots_len;

    ev_release *releases; /* oldest first */
    ev_release **releases_end;

    list asyncs;
    ev_children *children; /* made at first use */
    ev_pool *pool;         /* made at first use */

    ev_stats stats;
    ev_poll_event events[LOOP_BATCH];
    wheel wheel;
};

/* loop.c: ends the wait under way, or the next one. From any thread and any signal handler. */
void loop_wake(ev_loop *loop);

/* Whether a watcher's link is on a list; false for one that is all zero, never started. */
static inline bool loop_linked(const list *link) { return link->next && !list_empty(link); }

/* io.c */
void io_init(ev_loop *loop);
void io_deinit(ev_loop *loop);
void io_dispatch(ev_loop *loop, const ev_poll_event *events, int n);

/* timer.c */
void timers_init(ev_loop *loop);
void timers_begin(ev_loop *loop); /* before the events step */
void timers_run(ev_loop *loop);
int64_t timers_next_ms(const ev_loop *loop); /* when to look again; -1: there are none */

/* async.c */
void asyncs_init(ev_loop *loop);
void asyncs_dispatch(ev_loop *loop);

/* signal.c */
void signal_raise(ev_loop *loop, int signum); /* as if it had come; the signal is watched */
void signals_dispatch(ev_loop *loop);
void signals_deinit(ev_loop *loop);

/* child.c */
void children_deinit(ev_loop *loop);

/* pool.c: waits for the work that runs, and calls every `done` that is still to come. */
void pool_deinit(ev_loop *loop);

#endif
