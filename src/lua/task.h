/*
 * The scheduler's inside: what a task is, and what the Lua side of src/lua does with one.
 * C modules see sched.h only.
 */
#ifndef LINKS_LUA_TASK_H
#define LINKS_LUA_TASK_H

#include <lua.h>

#include "lua/sched.h"

typedef enum task_state {
    TASK_READY,   /* on a ready list */
    TASK_RUNNING, /* the one that runs */
    TASK_PARKED,  /* waits: on a queue, on its timer, or both */
    TASK_DONE,
    TASK_FAILED,
} task_state;

/* Lives in a userdata of Lua, which is anchored for as long as the task is not over. */
struct task {
    list link;      /* a ready list, a wait queue, or nothing */
    ev_timer timer; /* of the wait that it is in */
    waitq joiners;
    lua_State *L;        /* its coroutine; NULL once over */
    void *scope;         /* the coroutine of the innermost withTimeout or shield */
    const char *what;    /* it waits for */
    int64_t deadline_ms; /* of the innermost task.withTimeout; 0: none */
    int64_t since_ms;    /* when it was parked */
    uint32_t id;
    int slot;    /* of the coroutine in the pool */
    int status;  /* to be resumed with */
    int nargs;   /* values that lie on its stack already: arguments, or status and value */
    int shields; /* depth of task.shield */
    uint8_t state;
    bool started;
    bool cancelled;   /* sticky */
    bool cut;         /* a deadline of task.withTimeout has cut a wait short */
    bool counted;     /* this wait keeps the process alive */
    bool by_deadline; /* the timer stands for deadline_ms, not for the wait's own timeout */
    bool owned;       /* somebody will look at its result: do not log its failure */
    bool loud;        /* log it in any case */
    bool has_env;     /* its userdata has a table of its own */
    bool seen;        /* the program has its coroutine: coroutine.running */
    bool inherits;    /* it has task-local values, which its children get */
};

/* --- life ---------------------------------------------------------------------------------- */

/* Starts the scheduler on a loop and a VM; both outlive it. */
void sched_open(ev_loop *loop, lua_State *L);

/* Ends it: what still waits is forgotten. Afterwards nothing can start or park; then close the
 * VM. */
void sched_close(void);

/* False once sched_close has been called: only finalizers run then. */
bool sched_is_open(void);

/* The VM's main state, on which nothing runs. */
lua_State *sched_vm(void);

/* Makes a task of the function and `nargs` arguments on top of `L`, which are popped, and pushes
 * its userdata. It is ready, and runs in the loop's next run step. */
task *sched_spawn(lua_State *L, int nargs);

/* Makes `t` the running task (NULL: none) and returns the one before: see core.leaveTask. */
task *sched_swap_current(task *t);

/* Carries out the run step: resumes what is ready. The loop's hook; true while there is more. */
bool sched_run(ev_loop *loop, void *arg);

/* Undoes a park that could not be followed by a yield. */
void sched_unpark(task *t);

/* Wakes the longest waiting task of `q` and hands it the value on top of `L`, which is popped in
 * any case. For tasks that have been parked by Lua (core.park). False: nobody waits. */
bool sched_hand_over(waitq *q, lua_State *L);

/* Wakes the longest waiting task of `q`, which is not empty, and pushes what that one offers. */
void sched_take(waitq *q, lua_State *L);

/* Pushes what a task that is parked by core.park offers; nil: nothing. */
void sched_push_offer(lua_State *L, task *t);

/* What a parked coroutine yields, to tell the scheduler's yields from the user's; its offer, if it
 * makes one, comes second. */
#define SCHED_WAIT ((void *)&sched_wait_mark)
extern const char sched_wait_mark;

/* Calls `fn` for every task that is not over. */
void sched_each(void (*fn)(task *t, void *arg), void *arg);

/* Pushes the userdata of a task that is not over. */
void sched_push(lua_State *L, task *t);

/* Pushes the task's own table, made at first use: its results, its name, its local values. `idx`
 * is the userdata's place. */
void task_push_env(lua_State *L, int idx, task *t);

/* --- seeing inside ------------------------------------------------------------------------- */

typedef struct sched_stats {
    uint64_t resumes;
    uint64_t spawned;
    uint64_t failed;
    uint32_t live;     /* tasks that are not over */
    uint32_t pooled;   /* coroutines that wait for a task */
    double longest_ms; /* the longest time a task held the loop */
    char longest[256]; /* where that task was when it let go */
} sched_stats;

const sched_stats *sched_stats_now(void);

/* For how long the task that runs has held the loop by now. */
double sched_held_ms(void);

/* Sets the longest hold back to zero. */
void sched_stats_reset(void);

#endif
