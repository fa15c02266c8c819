/*
 * One ready list, one lua_resume. Everything that can make a coroutine go on ends in sched_wake,
 * which takes it off whatever it waits on; so no wake, from any side, can find another half done.
 */
#include "lua/task.h"

#include <errno.h>
#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/ticks.h"
#include "lua/finalizers.h"
#include "lua/watchdog.h"

enum {
    RUN_BUDGET = 128,   /* resumes between two looks at the system's events */
    POOL_MAX = 1024,    /* coroutines kept for reuse */
    CULPRIT_MIN_MS = 1, /* shorter holds of the loop are not worth a label */
};

const char sched_wait_mark = 'w';

typedef struct slot {
    lua_State *L; /* NULL: none made */
    task *t;      /* NULL: pooled */
    int next;     /* free list */
} slot;

static struct {
    ev_loop *loop;
    lua_State *L;
    task *current;
    list ready; /* run in this step, those woken meanwhile included */
    list next;  /* run in the next turn: they let the loop look at the system first */
    slot *slots;
    int nslots, nused;
    int free_slots;     /* with a coroutine in it, ready for use */
    int empty_slots;    /* without */
    int threads, tasks; /* in the registry: tables that anchor what C points at, by slot */
    bool closed;
    const void *globals;
    uint32_t last_id;
    uint32_t *shown, unseen; /* where the id of the task that runs is noted: sched_show */
    uint64_t begun;          /* when the task that runs went on, in ticks */
    uint64_t longest_ticks, ticks0, ns0;
    sched_stats stats;
} sched;

task *sched_current(void) { return sched.current; }

uint32_t sched_id(const task *t) { return t->id; }

void sched_show(uint32_t *where) { sched.shown = where; }

bool sched_is_marked(void)
{
    return sched.current && (sched.current->has_env || sched.current->cancelled);
}

task *sched_swap_current(task *t)
{
    task *before = sched.current;
    sched.current = t;
    return before;
}

ev_loop *sched_loop(void) { return sched.loop; }

lua_State *sched_vm(void) { return sched.L; }

static uint64_t clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool sched_is_open(void) { return sched.L && !sched.closed; }

void sched_open(ev_loop *loop, lua_State *L)
{
    memset(&sched, 0, sizeof(sched));
    sched.loop = loop;
    sched.L = L;
    sched.free_slots = sched.empty_slots = -1;
    sched.closed = false;
    list_init(&sched.ready);
    list_init(&sched.next);
    sched.shown = &sched.unseen;
    sched.ticks0 = ticks_now();
    sched.ns0 = clock_ns();

    lua_newtable(L);
    sched.threads = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    sched.tasks = luaL_ref(L, LUA_REGISTRYINDEX);
    sched.globals = lua_topointer(L, LUA_GLOBALSINDEX);
    ev_loop_on_run(loop, sched_run, NULL);
}

/* Pops the value on top of `L` and keeps it from the collector until its place is cleared. The
 * tables are reached through the registry: a finalizer may run on any state, within any frame. */
static void anchor(lua_State *L, int table, int slot_index)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, table);
    lua_insert(L, -2);
    lua_rawseti(L, -2, slot_index + 1);
    lua_pop(L, 1);
}

static void let_go(int table, int slot_index)
{
    lua_pushnil(sched.L);
    anchor(sched.L, table, slot_index);
}

void sched_push(lua_State *L, task *t)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, sched.tasks);
    lua_rawgeti(L, -1, t->slot + 1);
    lua_remove(L, -2);
}

/* --- coroutines ---------------------------------------------------------------------------- */

static int slot_new(void)
{
    if (sched.nused == sched.nslots) {
        sched.nslots = sched.nslots ? sched.nslots * 2 : 64;
        sched.slots = mem_realloc(sched.slots, (size_t)sched.nslots * sizeof(slot));
    }
    sched.slots[sched.nused] = (slot){0};
    return sched.nused++;
}

/* Gives the task a coroutine: from the pool, or the one on top of `L`, which is popped then. */
static void slot_take(lua_State *L, task *t, bool pooled)
{
    int i = sched.free_slots;
    if (pooled) {
        sched.free_slots = sched.slots[i].next;
        sched.stats.pooled--;
    } else {
        i = sched.empty_slots;
        if (i >= 0)
            sched.empty_slots = sched.slots[i].next;
        else
            i = slot_new();
        sched.slots[i].L = lua_tothread(L, -1);
        anchor(L, sched.threads, i);
    }
    sched.slots[i].t = t;
    t->slot = i;
    t->L = sched.slots[i].L;
}

/* A coroutine whose globals were replaced (setfenv(0, ...)), or that the program has seen and may
 * keep something by, must not serve anybody else. */
static bool thread_reusable(const task *t)
{
    lua_State *co = t->L;
    return !t->seen && lua_status(co) == 0 && sched.stats.pooled < POOL_MAX &&
           lua_topointer(co, LUA_GLOBALSINDEX) == sched.globals;
}

static void thread_give_back(task *t)
{
    slot *s = &sched.slots[t->slot];
    s->t = NULL;
    if (thread_reusable(t)) {
        lua_settop(s->L, 0);
        s->next = sched.free_slots;
        sched.free_slots = t->slot;
        sched.stats.pooled++;
    } else {
        let_go(sched.threads, t->slot);
        s->L = NULL;
        s->next = sched.empty_slots;
        sched.empty_slots = t->slot;
    }
    t->L = NULL;
}

/* --- tasks --------------------------------------------------------------------------------- */

static void on_timer(ev_loop *loop, ev_timer *timer);

/* A child begins with its parent's task-local values, in a table of its own. */
static void inherit(lua_State *L, task *child, int child_idx, task *parent)
{
    task_push_env(L, child_idx, child);
    sched_push(L, parent);
    task_push_env(L, lua_gettop(L), parent);
    lua_getfield(L, -1, "locals");
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, -3)) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
    lua_setfield(L, -5, "locals");
    lua_pop(L, 4);
    child->inherits = true;
}

/* Everything that may fail, or that may run a finalizer which spawns tasks itself, comes first;
 * then nothing can leave a task behind half made. */
task *sched_spawn(lua_State *L, int nargs)
{
    if (sched.closed)
        luaL_error(L, "cannot start a task: the program is ending");
    luaL_checkstack(L, 8, NULL);
    int at = lua_gettop(L) - nargs;
    task *t = lua_newuserdata(L, sizeof(task));
    memset(t, 0, sizeof(*t));
    list_init(&t->link);
    ev_timer_init(&t->timer, on_timer);
    waitq_init(&t->joiners);
    t->state = TASK_DONE;
    luaL_getmetatable(L, "links.task");
    lua_setmetatable(L, -2);
    lua_insert(L, at);
    if (sched.current && sched.current->inherits)
        inherit(L, t, at, sched.current);
    bool pooled = sched.free_slots >= 0;
    lua_State *co = pooled ? sched.slots[sched.free_slots].L : lua_newthread(L);
    if (!lua_checkstack(co, nargs + 4))
        luaL_error(L, "task.spawn: too many arguments");

    slot_take(L, t, pooled);
    lua_pushvalue(L, at);
    anchor(L, sched.tasks, t->slot);
    lua_xmove(L, t->L, nargs + 1);
    t->id = ++sched.last_id;
    t->nargs = nargs;
    t->state = TASK_READY;
    list_push_back(&sched.ready, &t->link);
    ev_loop_ready(sched.loop);
    sched.stats.spawned++;
    sched.stats.live++;
    return t;
}

void task_push_env(lua_State *L, int idx, task *t)
{
    if (t->has_env) {
        lua_getfenv(L, idx);
        return;
    }
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfenv(L, idx);
    t->has_env = true;
}

void sched_each(void (*fn)(task *t, void *arg), void *arg)
{
    for (int i = 0; i < sched.nused; i++)
        if (sched.slots[i].t)
            fn(sched.slots[i].t, arg);
}

/* --- parking and waking -------------------------------------------------------------------- */

/* Ends the wait, whoever it was that ended it. */
static void leave(task *t)
{
    list_remove(&t->link);
    if (ev_timer_active(&t->timer))
        ev_timer_stop(sched.loop, &t->timer);
    if (t->counted)
        ev_unref(sched.loop);
    t->counted = false;
}

/* Answers a wait that has failed before it began, in the next turn and not at once: a task that
 * ignores its cancellation may go round for ever, but it cannot keep the others from running. */
static int refuse(task *t, int status)
{
    t->state = TASK_READY;
    t->status = status;
    list_push_back(&sched.next, &t->link);
    return LINKS_AGAIN;
}

/* Why a wait of this task must not begin: -ECANCELED, LINKS_DEADLINE, or 0. */
static int refusal(task *t)
{
    if (t->cancelled && !t->shields)
        return -ECANCELED;
    if (!t->deadline_ms || t->deadline_ms > ev_now_ms(sched.loop))
        return 0;
    t->cut = true;
    return LINKS_DEADLINE;
}

/* Arms the nearer of the wait's own timeout and the deadline around it. */
static void arm(task *t, int64_t timeout_ms)
{
    int64_t delay = timeout_ms;
    t->by_deadline = false;
    if (t->deadline_ms) {
        int64_t left = t->deadline_ms - ev_now_ms(sched.loop);
        if (left < 0)
            left = 0;
        if (!timeout_ms || left < timeout_ms) {
            delay = left;
            t->by_deadline = true;
        }
    }
    ev_timer_start(sched.loop, &t->timer, delay, 0);
}

int sched_park(waitq *q, int64_t timeout_ms, int flags, const char *what)
{
    task *t = sched.current;
    if (!t)
        return sched.closed ? LINKS_SHUTTING_DOWN : LINKS_REFUSED; /* in a finalizer */
    if (t->state != TASK_RUNNING)
        leave(t); /* parked before, and never yielded: an error came between */
    t->what = what;
    t->since_ms = ev_now_ms(sched.loop);
    int status = refusal(t);
    if (status)
        return refuse(t, status);
    t->state = TASK_PARKED;
    t->status = 0;
    if (q)
        list_push_back(&q->tasks, &t->link);
    bool timed = timeout_ms > 0 || t->deadline_ms;
    if (timed)
        arm(t, timeout_ms);
    t->counted = timed || (flags & SCHED_IO);
    if (t->counted)
        ev_ref(sched.loop);
    return LINKS_AGAIN;
}

void sched_wake(task *t, int status)
{
    if (t->state != TASK_PARKED)
        return;
    leave(t);
    t->status = status;
    t->state = TASK_READY;
    list_push_back(&sched.ready, &t->link);
    ev_loop_ready(sched.loop);
}

void sched_unpark(task *t)
{
    leave(t);
    t->state = TASK_RUNNING;
}

static void on_timer(ev_loop *loop, ev_timer *timer)
{
    (void)loop;
    task *t = CONTAINER_OF(timer, task, timer);
    if (t->by_deadline)
        t->cut = true;
    sched_wake(t, t->by_deadline ? LINKS_DEADLINE : -ETIMEDOUT);
}

bool waitq_wake_one(waitq *q, int status)
{
    if (waitq_empty(q))
        return false;
    sched_wake(CONTAINER_OF(q->tasks.next, task, link), status);
    return true;
}

bool waitq_wake_all(waitq *q, int status)
{
    bool any = false;
    while (waitq_wake_one(q, status))
        any = true;
    return any;
}

bool sched_hand_over(waitq *q, lua_State *L)
{
    if (waitq_empty(q)) {
        lua_pop(L, 1);
        return false;
    }
    task *t = CONTAINER_OF(q->tasks.next, task, link);
    lua_pushinteger(t->L, 0);
    lua_xmove(L, t->L, 1);
    t->nargs = 2;
    sched_wake(t, 0);
    return true;
}

/* The offer lies on the stack of the coroutine that waits, where nothing else is: whatever ends the
 * wait, it is gone with it. */
void sched_push_offer(lua_State *L, task *t)
{
    if (lua_gettop(t->L) < 2) {
        lua_pushnil(L);
        return;
    }
    lua_pushvalue(t->L, 2);
    lua_xmove(t->L, L, 1);
}

void sched_take(waitq *q, lua_State *L)
{
    task *t = CONTAINER_OF(q->tasks.next, task, link);
    sched_push_offer(L, t);
    sched_wake(t, 0);
}

void sched_cancel(task *t)
{
    if (t->state >= TASK_DONE)
        return;
    t->cancelled = true;
    if (!t->shields)
        sched_wake(t, -ECANCELED);
}

bool sched_yield_task(task *t)
{
    t->what = "yield";
    t->since_ms = ev_now_ms(sched.loop);
    refuse(t, refusal(t));
    return t->status == 0;
}

/* --- running ------------------------------------------------------------------------------- */

/* The error value is on top of the dead coroutine: keep it, with the traceback it died with. */
static void keep_error(task *t)
{
    lua_State *L = sched.L, *co = t->L;
    sched_push(L, t);
    task_push_env(L, lua_gettop(L), t);
    luaL_traceback(L, co, NULL, 0);
    lua_setfield(L, -2, "traceback");
    lua_xmove(co, L, 1);
    lua_setfield(L, -2, "error");
    lua_settop(L, 0);
}

static void keep_results(task *t)
{
    lua_State *L = sched.L, *co = t->L;
    int n = lua_gettop(co);
    if (!n)
        return;
    sched_push(L, t);
    task_push_env(L, lua_gettop(L), t);
    lua_pushinteger(L, n);
    lua_setfield(L, -2, "n");
    /* One at a time: there may be more than the main state's stack may hold. */
    for (int i = n; i >= 1; i--) {
        lua_xmove(co, L, 1);
        lua_rawseti(L, -2, i);
    }
    lua_settop(L, 0);
}

/* Tells the Lua side of a failure that nobody waits for, in a task of its own: it may wait. */
static void report(task *t)
{
    lua_State *L = sched.L;
    lua_getfield(L, LUA_REGISTRYINDEX, "links.report");
    if (!lua_isnil(L, -1)) {
        sched_push(L, t);
        sched_spawn(L, 1)->owned = true;
    }
    lua_settop(L, 0);
}

static void finish(task *t, int rc)
{
    if (rc == 0) {
        keep_results(t);
        t->state = TASK_DONE;
    } else {
        keep_error(t);
        t->state = TASK_FAILED;
        sched.stats.failed++;
        if (t->loud || (!t->owned && waitq_empty(&t->joiners)))
            report(t);
    }
    waitq_wake_all(&t->joiners, 0);
    int slot_index = t->slot;
    thread_give_back(t);
    sched.stats.live--;
    let_go(sched.tasks, slot_index); /* `t` may be garbage from here on */
}

static double ms_of(uint64_t ticks)
{
    double per_ns = (double)(ticks_now() - sched.ticks0) / (double)(clock_ns() - sched.ns0 + 1);
    return (double)ticks / per_ns / 1e6;
}

double sched_held_ms(void) { return sched.current ? ms_of(ticks_now() - sched.begun) : 0; }

static void note_culprit(task *t, uint64_t ticks)
{
    sched.longest_ticks = ticks;
    sched.stats.longest_ms = ms_of(ticks);
    if (sched.stats.longest_ms < CULPRIT_MIN_MS)
        return;
    lua_Debug ar;
    for (int level = 0; lua_getstack(t->L, level, &ar); level++) {
        lua_getinfo(t->L, "Sl", &ar);
        if (ar.currentline > 0 && strncmp(ar.source, "=links/", 7) != 0) {
            snprintf(sched.stats.longest, sizeof(sched.stats.longest), "%s:%d", ar.short_src,
                     ar.currentline);
            return;
        }
    }
    snprintf(sched.stats.longest, sizeof(sched.stats.longest), "task %u", t->id);
}

/* A yield that is not a wait, from the bottom of a task: there is nobody to take the values. */
static int stray_yield(lua_State *co)
{
    lua_settop(co, 0);
    lua_pushliteral(co, "attempt to yield from outside a coroutine");
    return LUA_ERRRUN;
}

static void resume(task *t)
{
    lua_State *co = t->L;
    if (t->cancelled && !t->started) {
        /* Its error is the one that task:cancel left in the task's table. */
        lua_settop(co, 0);
        sched_push(sched.L, t);
        task_push_env(sched.L, lua_gettop(sched.L), t);
        lua_getfield(sched.L, -1, "reason");
        lua_xmove(sched.L, co, 1);
        lua_settop(sched.L, 0);
        t->owned = true;
        finish(t, LUA_ERRRUN);
        return;
    }
    int nargs = t->nargs;
    if (t->started && !nargs) {
        lua_pushinteger(co, t->status);
        nargs = 1;
    }
    t->started = true;
    t->nargs = 0;
    t->state = TASK_RUNNING;
    sched.current = t;
    *sched.shown = t->id;
    sched.stats.resumes++;
    sched.begun = ticks_now();
    watchdog_enter();

    int rc = lua_resume(co, nargs);

    watchdog_leave();
    sched.current = NULL;
    *sched.shown = 0;
    uint64_t ticks = ticks_now() - sched.begun;
    if (ticks > sched.longest_ticks)
        note_culprit(t, ticks);
    if (rc == LUA_YIELD) {
        if (lua_touserdata(co, 1) == SCHED_WAIT && t->state != TASK_RUNNING)
            return; /* what it has yielded goes when it is resumed */
        rc = stray_yield(co);
    }
    if (t->state != TASK_RUNNING)
        leave(t);
    finish(t, rc);
}

bool sched_run(ev_loop *loop, void *arg)
{
    (void)loop;
    (void)arg;
    list_move_all(&sched.ready, &sched.next);
    for (int budget = RUN_BUDGET; budget > 0; budget--) {
        list *node = list_pop_front(&sched.ready);
        if (!node)
            break;
        resume(CONTAINER_OF(node, task, link));
    }
    finalizers_run(sched.L);
    return !list_empty(&sched.ready) || !list_empty(&sched.next);
}

void sched_close(void)
{
    for (int i = 0; i < sched.nused; i++) {
        task *t = sched.slots[i].t;
        if (t)
            leave(t);
    }
    ev_loop_on_run(sched.loop, NULL, NULL);
    sched.closed = true;
    mem_free(sched.slots);
    sched.slots = NULL;
    sched.nused = sched.nslots = 0;
}

/* --- seeing inside ------------------------------------------------------------------------- */

const sched_stats *sched_stats_now(void) { return &sched.stats; }

void sched_stats_reset(void)
{
    sched.longest_ticks = 0;
    sched.stats.longest_ms = 0;
    sched.stats.longest[0] = '\0';
}
