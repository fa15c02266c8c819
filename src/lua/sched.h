/*
 * The scheduler as C modules see it: who runs, how it parks, how it is woken. No lua.h here.
 *
 * A function that Lua calls through the FFI and that cannot go on parks the running coroutine on
 * a wait queue and returns LINKS_AGAIN; Lua yields and, once woken with status 0, makes the same
 * call again. Any other status is the result of the operation: a deadline, a cancel, a close.
 */
#ifndef LINKS_LUA_SCHED_H
#define LINKS_LUA_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "ev/ev.h"

typedef struct task task;

/* Tasks that wait for the same thing, the longest waiting first. Lives in what they wait for. */
typedef struct waitq {
    list tasks;
} waitq;

static inline void waitq_init(waitq *q) { list_init(&q->tasks); }
static inline bool waitq_empty(const waitq *q) { return list_empty(&q->tasks); }

enum {
    SCHED_IO = 1, /* something outside the process can end this wait: it keeps the process alive */
};

/* The task that runs now; NULL outside step 5, and in finalizers. */
task *sched_current(void);

/* The number that Lua knows a task by. */
uint32_t sched_id(const task *t);

/* Notes the id of the task that runs in *where from now on, and 0 while none does, for who looks at
 * this process from another one. */
void sched_show(uint32_t *where);

/* The running task has been cancelled, or given something of its own: a name, local values,
 * functions to call on a cancel. It must not be put to another use then, where the next user would
 * find them. */
bool sched_is_marked(void);

/* Parks the running task on `q` for at most `timeout_ms` (0: as long as it takes), or until the
 * deadline of an enclosing task.withTimeout. Returns LINKS_AGAIN; or, at once and without
 * parking, -ECANCELED for a cancelled task, LINKS_DEADLINE for one whose deadline has passed,
 * LINKS_REFUSED in a finalizer, LINKS_SHUTTING_DOWN in one at the end of the process.
 * `what` is a constant that says what is waited for ("tcp read"), for who looks at the process. */
int sched_park(waitq *q, int64_t timeout_ms, int flags, const char *what);

/* Puts the running task at the end of the next turn's list, so that the others and the loop have
 * their turn. To be followed by a yield. False: it is told then, as by a wait, that it is cancelled
 * or that its deadline has passed. */
bool sched_yield_task(task *t);

/* Wakes a parked task with `status`: off its queue, disarmed, onto the ready list. Nothing
 * happens to a task that is not parked. */
void sched_wake(task *t, int status);

/* Wakes the longest waiting task, or all. True if there was one. */
bool waitq_wake_one(waitq *q, int status);
bool waitq_wake_all(waitq *q, int status);

/* Cancels a task as task:cancel does: sticky, and wakes it with -ECANCELED if it is parked. */
void sched_cancel(task *t);

/* The process's loop. */
ev_loop *sched_loop(void);

#endif
