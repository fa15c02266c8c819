/*
 * A piece of work for a thread of the loop's pool, and the task that waits for it. Both own it: who
 * lets go last has it freed. So a task that is cancelled leaves at once, and nothing is freed under
 * the hands of a thread.
 *
 * Work that the pool's queue has no room for waits here and goes in when there is some.
 */
#ifndef LINKS_MODULES_WORK_H
#define LINKS_MODULES_WORK_H

#include "lua/sched.h"

enum {
    WORK_MAX_WAITING = 65536, /* beyond what the pool has queued (EV_WORK_MAX_QUEUED) */
    WORK_RETRY_MS = 2,        /* where the pool is full of others' work */
    WORK_GIVE_UP_MS = 10000,  /* ... and none of ours has begun for so long: POOL_FULL */
};

typedef struct work work;

typedef struct work_ops {
    void (*run)(work *w);  /* on a thread; may block */
    void (*over)(work *w); /* on the loop's thread, once, ran or not; NULL: nothing to do */
    void (*free)(work *w); /* on the loop's thread: nobody wants it any more */
} work_ops;

struct work {
    ev_work ev;
    const work_ops *ops;
    list link; /* waiting for room */
    waitq waiters;
    int result;    /* once it is over: 0, or why it was never run */
    uint8_t state; /* enum in work.c */
    bool owned;    /* somebody will call work_leave */
    bool left;     /* somebody has: read on the thread */
};

/* Makes it ready to be started; `w` is the caller's until work_start. */
void work_init(work *w, const work_ops *ops);

/* Hands it over. 0; LINKS_POOL_FULL or -errno, and it is still the caller's alone. May be started
 * again once it is over. */
int work_start(work *w);

/* Whether it has been run, or never will be. */
bool work_is_over(const work *w);

/* Parks until it is over, and then answers its result, which is 0 unless it was never run. */
int work_wait(work *w, const char *what);

/* The caller lets go: it is freed now, or when its thread is done. What has not begun never
 * will. */
void work_leave(work *w);

/* For `run`, on its thread: nobody wants the result any more, so what takes long may end. */
bool work_is_left(const work *w);

/* Ends what waits here, before the loop is freed. */
void work_close(void);

#endif
