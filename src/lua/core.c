#include "lua/core.h"

#include <errno.h>
#include <lauxlib.h>
#include <string.h>

#include "lua/collector.h"
#include "lua/finalizers.h"
#include "lua/json_encode.h"
#include "lua/profile.h"
#include "lua/redis.h"
#include "lua/task.h"
#include "lua/watchdog.h"

/* --- waiting ------------------------------------------------------------------------------- */

/* Registry: C functions of the standard library, by name, for the error below. */
#define BUILTINS "links.builtins"

static void name_builtins(lua_State *L, const char *lib, const char *prefix)
{
    lua_getglobal(L, lib);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (!lua_iscfunction(L, -1) || lua_type(L, -2) != LUA_TSTRING)
            continue;
        lua_pushvalue(L, -1);
        lua_pushfstring(L, "%s%s", prefix, lua_tostring(L, -3));
        lua_rawset(L, -6);
    }
    lua_pop(L, 1);
}

static void remember_builtins(lua_State *L)
{
    lua_newtable(L);
    name_builtins(L, "_G", "");
    name_builtins(L, "string", "string.");
    name_builtins(L, "table", "table.");
    lua_setfield(L, LUA_REGISTRYINDEX, BUILTINS);
}

/* Pushes the position of the code that waits, which is not links' own library. */
static void push_place(lua_State *L)
{
    lua_Debug ar;
    for (int level = 1; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline > 0 && strncmp(ar.source, "=links/", 7) != 0) {
            lua_pushfstring(L, "%s:%d: ", ar.short_src, ar.currentline);
            return;
        }
    }
    lua_pushliteral(L, "");
}

/* Registry: why the last wait was refused, as it was said. */
#define REFUSAL "links.refusal"

/* Pushes the name of what stands in the way of a yield: a C function that calls back. */
static void push_obstacle(lua_State *L)
{
    lua_Debug ar;
    if (!sched_current()) {
        lua_pushliteral(L, "a finalizer");
        return;
    }
    lua_getfield(L, LUA_REGISTRYINDEX, BUILTINS);
    for (int level = 0; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "fS", &ar);
        if (*ar.what != 'C') {
            lua_pop(L, 1);
            continue;
        }
        lua_rawget(L, -2);
        const char *name = lua_tostring(L, -1);
        if (name && strcmp(name, "pcall") != 0 && strcmp(name, "xpcall") != 0) {
            lua_remove(L, -2);
            return;
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    lua_pushliteral(L, "a C function that calls back");
}

/* Notes why a wait cannot be, and undoes the park that should have led to it. */
static void refuse_wait(lua_State *L)
{
    if (sched_current())
        sched_unpark(sched_current());
    lua_pushliteral(L, "cannot yield inside ");
    push_obstacle(L);
    lua_concat(L, 2);
    lua_setfield(L, LUA_REGISTRYINDEX, REFUSAL);
}

/* raiseRefusal(): raises why the last wait was refused, at the code that waits. */
static int core_raise_refusal(lua_State *L)
{
    if (!sched_current())
        refuse_wait(L); /* by sched_park, which has no words */
    push_place(L);
    lua_getfield(L, LUA_REGISTRYINDEX, REFUSAL);
    lua_concat(L, 2);
    return lua_error(L);
}

/* Yields to the scheduler with the values on top of the stack; see sched_take. A refused wait
 * answers LINKS_REFUSED, so that Lua can put in order what it has prepared for the wait; errors.new
 * raises the reason then. */
static int yield_wait(lua_State *L, int nvalues)
{
    if (!lua_isyieldable(L)) {
        refuse_wait(L);
        lua_pushinteger(L, LINKS_REFUSED);
        return 1;
    }
    lua_pushlightuserdata(L, SCHED_WAIT);
    lua_insert(L, -1 - nvalues);
    return lua_yield(L, 1 + nvalues);
}

int core_yield_wait(lua_State *L) { return yield_wait(L, 0); }

/* wait() -> status: after an FFI call that has answered AGAIN. 0: woken, call again. */
static int core_wait(lua_State *L) { return yield_wait(L, lua_gettop(L)); }

/* Raises where there is no task that could wait: in a finalizer of the loop's or of the end. */
static task *running(lua_State *L)
{
    task *t = sched_current();
    if (t)
        return t;
    if (sched_is_open())
        core_raise_refusal(L);
    push_place(L);
    lua_pushliteral(L, "cannot wait here: the program is ending");
    lua_concat(L, 2);
    lua_error(L);
    return NULL;
}

/* Milliseconds of a wait as Lua gives them: nil is no timeout, and a fraction is rounded up, so
 * that a wait is never shorter than asked. */
static int64_t wait_ms(lua_State *L, int idx)
{
    lua_Number ms = luaL_optnumber(L, idx, 0);
    if (!(ms > 0))
        return 0;
    int64_t whole = ms < 1e15 ? (int64_t)ms : (int64_t)1e15;
    ev_now_update(sched_loop());
    return whole + ((lua_Number)whole < ms);
}

/* A queue is known by its size and a mark, and a task by its metatable's address: luaL_checkudata
 * would look them up by name for every wait. */
typedef struct queue {
    waitq q;
    const void *mark;
} queue;

static const char queue_mark = 'q';
static const void *task_meta;

static waitq *check_queue(lua_State *L, int idx)
{
    queue *queue = lua_touserdata(L, idx);
    if (!queue || lua_objlen(L, idx) != sizeof(*queue) || queue->mark != &queue_mark)
        luaL_typerror(L, idx, "queue");
    return &queue->q;
}

/* queue() -> queue */
static int core_queue(lua_State *L)
{
    queue *queue = lua_newuserdata(L, sizeof(*queue));
    waitq_init(&queue->q);
    queue->mark = &queue_mark;
    luaL_getmetatable(L, "links.queue");
    lua_setmetatable(L, -2);
    return 1;
}

/* A queue that nobody can reach any more wakes nobody: who waits has its own timeout, or a
 * cancel. */
static int queue_gc(lua_State *L)
{
    waitq *q = check_queue(L, 1);
    while (list_pop_front(&q->tasks))
        ;
    return 0;
}

/* Parks on `q`, with the timeout and the label at `idx` and behind, and what is offered on top. */
static int park_on(lua_State *L, waitq *q, int idx, int noffers)
{
    running(L);
    if (!lua_isnoneornil(L, idx) && lua_tonumber(L, idx) <= 0) {
        lua_pushinteger(L, -ETIMEDOUT);
        return 1;
    }
    sched_park(q, wait_ms(L, idx), 0, luaL_checkstring(L, idx + 1));
    return yield_wait(L, noffers);
}

/* park(queue|nil, ms|nil, what[, offer]) -> status[, value]. A timeout is -ETIMEDOUT, and 0 ms do
 * not wait at all. `what` must be a string that lives as long as the program: a literal of a
 * module. `offer` is for who looks at the queue, with first and take. */
static int core_park(lua_State *L)
{
    waitq *q = lua_isnil(L, 1) ? NULL : check_queue(L, 1);
    return park_on(L, q, 2, lua_gettop(L) > 3);
}

/* give(takers, givers, ms|nil, what, value) -> status: hands the value to the longest waiting
 * taker, or waits among the givers until somebody takes it. */
static int core_give(lua_State *L)
{
    waitq *takers = check_queue(L, 1), *givers = check_queue(L, 2);
    lua_settop(L, 5);
    if (waitq_empty(takers))
        return park_on(L, givers, 3, 1);
    sched_hand_over(takers, L);
    lua_pushinteger(L, 0);
    return 1;
}

/* get(takers, givers, ms|nil, what) -> status, value: the other side. */
static int core_get(lua_State *L)
{
    waitq *takers = check_queue(L, 1), *givers = check_queue(L, 2);
    if (waitq_empty(givers))
        return park_on(L, takers, 3, 0);
    lua_pushinteger(L, 0);
    sched_take(givers, L);
    return 2;
}

/* take(queue) -> offer of the task that waits longest, which is woken; nil: nobody waits */
static int core_take(lua_State *L)
{
    waitq *q = check_queue(L, 1);
    if (waitq_empty(q))
        return 0;
    sched_take(q, L);
    return 1;
}

/* wakeOne(queue[, value]) -> boolean */
static int core_wake_one(lua_State *L)
{
    waitq *q = check_queue(L, 1);
    lua_settop(L, 2);
    lua_pushboolean(L, sched_hand_over(q, L));
    return 1;
}

/* wakeAll(queue[, status]) */
static int core_wake_all(lua_State *L)
{
    waitq_wake_all(check_queue(L, 1), (int)luaL_optinteger(L, 2, 0));
    return 0;
}

/* waiting(queue) -> boolean */
static int core_waiting(lua_State *L)
{
    lua_pushboolean(L, !waitq_empty(check_queue(L, 1)));
    return 1;
}

/* first(queue) -> task, offer: of the one that waits longest; nil: nobody */
static int core_first(lua_State *L)
{
    waitq *q = check_queue(L, 1);
    if (waitq_empty(q))
        return 0;
    task *t = CONTAINER_OF(q->tasks.next, task, link);
    sched_push(L, t);
    sched_push_offer(L, t);
    return 2;
}

/* yield() -> status: to the end of the next turn's queue. */
static int core_yield(lua_State *L)
{
    sched_yield_task(running(L));
    return yield_wait(L, 0);
}

/* leaveTask() -> task: for a finalizer, which the collector runs within any task, and perhaps
 * between the moment that one parked and the moment that it yields. No task runs until enterTask,
 * so it can neither wait nor undo that park. */
static int core_leave_task(lua_State *L)
{
    lua_pushlightuserdata(L, sched_swap_current(NULL));
    return 1;
}

/* enterTask(task): as leaveTask gave it. */
static int core_enter_task(lua_State *L)
{
    sched_swap_current(lua_touserdata(L, 1));
    return 0;
}

/* --- tasks --------------------------------------------------------------------------------- */

static task *check_task(lua_State *L, int idx)
{
    task *t = lua_touserdata(L, idx);
    if (t && lua_getmetatable(L, idx)) {
        bool is = lua_topointer(L, -1) == task_meta;
        lua_pop(L, 1);
        if (is)
            return t;
    }
    luaL_typerror(L, idx, "task");
    return NULL;
}

/* spawn(fn, ...) -> task */
static int core_spawn(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    sched_spawn(L, lua_gettop(L) - 1);
    return 1;
}

/* current() -> task|nil */
static int core_current(lua_State *L)
{
    task *t = sched_current();
    if (t)
        sched_push(L, t);
    else
        lua_pushnil(L);
    return 1;
}

/* yield(...) of the program's own coroutines. At the bottom of a task there is nobody to take the
 * values, and the error must be one that pcall can catch. */
static int core_user_yield(lua_State *L)
{
    task *t = sched_current();
    if (t && t->L == L)
        return luaL_error(L, "attempt to yield from outside a coroutine");
    if (t && t->scope == L)
        return luaL_error(L, "attempt to yield out of task.withTimeout or task.shield");
    if (!lua_isyieldable(L))
        return luaL_error(L, "attempt to yield across C-call boundary");
    return lua_yield(L, lua_gettop(L));
}

/* running() -> thread, own: the coroutine that runs, and whether it is the task's own, which
 * nobody but the scheduler may resume. */
static int core_running(lua_State *L)
{
    task *t = sched_current();
    bool own = t && t->L == L;
    if (own)
        t->seen = true;
    lua_pushthread(L);
    lua_pushboolean(L, own);
    return 2;
}

/* env(task) -> table: its results, name, locals */
static int core_env(lua_State *L)
{
    task_push_env(L, 1, check_task(L, 1));
    return 1;
}

/* cancel(task) */
static int core_cancel(lua_State *L)
{
    sched_cancel(check_task(L, 1));
    return 0;
}

/* own(task): its failure is somebody's concern; it is not logged. */
static int core_own(lua_State *L)
{
    check_task(L, 1)->owned = true;
    return 0;
}

/* loud(task): its failure is told of, even where somebody waits for it. */
static int core_loud(lua_State *L)
{
    check_task(L, 1)->loud = true;
    return 0;
}

/* bequeath(task, boolean): its children begin with its local values, or without. */
static int core_bequeath(lua_State *L)
{
    check_task(L, 1)->inherits = lua_toboolean(L, 2);
    return 0;
}

/* finished(task) -> boolean */
static int core_finished(lua_State *L)
{
    lua_pushboolean(L, check_task(L, 1)->state >= TASK_DONE);
    return 1;
}

/* joinWait(task, ms|nil) -> status: waits until it is over. */
static int core_join_wait(lua_State *L)
{
    task *t = check_task(L, 1);
    running(L);
    sched_park(&t->joiners, wait_ms(L, 2), 0, "join");
    return yield_wait(L, 0);
}

static int push_error_result(lua_State *L)
{
    lua_pushboolean(L, 0);
    lua_getfenv(L, 1);
    lua_getfield(L, -1, "error");
    lua_remove(L, -2);
    return 2;
}

/* result(task) -> true, ... | false, err: of one that is over. */
static int core_result(lua_State *L)
{
    task *t = check_task(L, 1);
    if (t->state == TASK_FAILED)
        return push_error_result(L);
    lua_pushboolean(L, 1);
    if (!t->has_env)
        return 1;
    lua_getfenv(L, 1);
    int env = lua_gettop(L);
    lua_getfield(L, env, "n");
    int n = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    luaL_checkstack(L, n + 1, "too many results");
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, env, i);
    lua_remove(L, env);
    return n + 1;
}

static const char *state_name(const task *t)
{
    static const char *const names[] = {"ready", "running", "waiting", "done", "failed"};
    return names[t->state];
}

/* info(task) -> state, what, ms since it waits, id, cancelled, thread */
static int core_info(lua_State *L)
{
    task *t = check_task(L, 1);
    lua_pushstring(L, state_name(t));
    if (t->state == TASK_PARKED)
        lua_pushstring(L, t->what);
    else
        lua_pushnil(L);
    lua_pushinteger(L, (lua_Integer)(ev_now_ms(sched_loop()) - t->since_ms));
    lua_pushinteger(L, (lua_Integer)t->id);
    lua_pushboolean(L, t->cancelled);
    return 5;
}

/* traceback(task) -> string: where it is now */
static int core_traceback(lua_State *L)
{
    task *t = check_task(L, 1);
    if (!t->L)
        return 0;
    luaL_traceback(L, t->L, NULL, 0);
    return 1;
}

struct tasks_into {
    lua_State *L;
    int n;
};

static void add_task(task *t, void *arg)
{
    struct tasks_into *into = arg;
    sched_push(into->L, t);
    lua_rawseti(into->L, -2, ++into->n);
}

/* tasks() -> array of those that are not over */
static int core_tasks(lua_State *L)
{
    struct tasks_into into = {.L = L};
    lua_newtable(L);
    sched_each(add_task, &into);
    return 1;
}

/* A deadline or a shield belongs to the coroutine that began it, which must not hand control to
 * its resumer before it has ended: it would hold there too, and for ever if nobody resumes it. */
static void scope_enter(lua_State *L, task *t)
{
    lua_pushlightuserdata(L, t->scope);
    t->scope = L;
}

/* deadlinePush(ms) -> old deadline, old cut, old scope: narrows the running task's deadline. */
static int core_deadline_push(lua_State *L)
{
    task *t = running(L);
    int64_t at = ev_now_update(sched_loop()) + wait_ms(L, 1);
    lua_pushnumber(L, (lua_Number)t->deadline_ms);
    lua_pushboolean(L, t->cut);
    scope_enter(L, t);
    if (at <= 0)
        at = 1; /* 0 says that there is none */
    if (!t->deadline_ms || at < t->deadline_ms)
        t->deadline_ms = at;
    t->cut = false;
    return 3;
}

/* deadlinePop(old deadline, old cut, old scope) -> boolean: this one has cut a wait short. */
static int core_deadline_pop(lua_State *L)
{
    task *t = running(L);
    bool cut = t->cut;
    int64_t outer = (int64_t)luaL_checknumber(L, 1);
    /* Where the outer one was the nearer, it is the outer one that struck. */
    t->cut = lua_toboolean(L, 2) || (cut && outer && outer <= t->deadline_ms);
    t->deadline_ms = outer;
    t->scope = lua_touserdata(L, 3);
    lua_pushboolean(L, cut);
    return 1;
}

/* shieldPush() -> old deadline, old scope: no cancel and no outer deadline reaches the task until
 * the pop. */
static int core_shield_push(lua_State *L)
{
    task *t = running(L);
    lua_pushnumber(L, (lua_Number)t->deadline_ms);
    scope_enter(L, t);
    t->deadline_ms = 0;
    t->shields++;
    return 2;
}

/* shieldPop(old deadline, old scope) */
static int core_shield_pop(lua_State *L)
{
    task *t = running(L);
    t->deadline_ms = (int64_t)luaL_checknumber(L, 1);
    t->scope = lua_touserdata(L, 2);
    if (t->shields > 0)
        t->shields--;
    return 0;
}

/* --- the process --------------------------------------------------------------------------- */

/* onReport(fn): fn(task) runs in a task of its own for each failure that nobody waits for. */
static int core_on_report(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "links.report");
    return 0;
}

/* onEnd(fn): fn() runs when the program is told to end, to cancel its tasks. It must not wait. */
static int core_on_end(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "links.end");
    return 0;
}

/* now() -> ms of this turn */
static int core_now(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)ev_now_ns(sched_loop()) / 1e6);
    return 1;
}

/* stats() -> loop and scheduler figures */
static int core_stats(lua_State *L)
{
    const ev_stats *ev = ev_loop_stats(sched_loop());
    const sched_stats *s = sched_stats_now();
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        {"turns", (double)ev->turns},       {"longestTurn", (double)ev->longest_ns / 1e6},
        {"timers", (double)ev->timers},     {"watchers", (double)ev->ios},
        {"resumes", (double)s->resumes},    {"spawned", (double)s->spawned},
        {"failed", (double)s->failed},      {"tasks", s->live},
        {"pooledCoroutines", s->pooled},    {"longestHold", s->longest_ms},
        {"handles", ev_refs(sched_loop())}, {"busy", (double)ev->busy_ns / 1e6},
    };
    lua_newtable(L);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        lua_pushnumber(L, numbers[i].value);
        lua_setfield(L, -2, numbers[i].name);
    }
    lua_pushstring(L, s->longest);
    lua_setfield(L, -2, "longestAt");
    lua_newtable(L);
    for (int i = 0; i < EV_LAG_BUCKETS; i++) {
        lua_pushnumber(L, (lua_Number)ev->lag[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "lag");
    return 1;
}

/* statsReset(): the longest turn and the longest hold begin anew. */
static int core_stats_reset(lua_State *L)
{
    (void)L;
    ev_loop_stats_reset(sched_loop());
    sched_stats_reset();
    return 0;
}

/* Registry: the functions of fastcall.h, by name. */
#define FAST "links.fast"

void core_push_fast(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, FAST);
    if (!lua_isnil(L, -1))
        return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, FAST);
}

int luaopen_links_core(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"wait", core_wait},
        {"queue", core_queue},
        {"park", core_park},
        {"wakeOne", core_wake_one},
        {"wakeAll", core_wake_all},
        {"waiting", core_waiting},
        {"first", core_first},
        {"take", core_take},
        {"give", core_give},
        {"get", core_get},
        {"yield", core_yield},
        {"leaveTask", core_leave_task},
        {"enterTask", core_enter_task},
        {"spawn", core_spawn},
        {"current", core_current},
        {"userYield", core_user_yield},
        {"running", core_running},
        {"raiseRefusal", core_raise_refusal},
        {"env", core_env},
        {"cancel", core_cancel},
        {"own", core_own},
        {"loud", core_loud},
        {"bequeath", core_bequeath},
        {"finished", core_finished},
        {"joinWait", core_join_wait},
        {"result", core_result},
        {"info", core_info},
        {"traceback", core_traceback},
        {"tasks", core_tasks},
        {"deadlinePush", core_deadline_push},
        {"deadlinePop", core_deadline_pop},
        {"shieldPush", core_shield_push},
        {"shieldPop", core_shield_pop},
        {"onReport", core_on_report},
        {"onEnd", core_on_end},
        {"now", core_now},
        {"stats", core_stats},
        {"statsReset", core_stats_reset},
        {NULL, NULL},
    };
    luaL_newmetatable(L, "links.task");
    luaL_newmetatable(L, "links.queue");
    lua_pushcfunction(L, queue_gc);
    lua_setfield(L, -2, "__gc");
    task_meta = lua_topointer(L, -2);
    lua_pop(L, 2);
    remember_builtins(L);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    lua_pushlightuserdata(L, SCHED_WAIT);
    lua_setfield(L, -2, "WAIT");
    luaL_getmetatable(L, "links.task");
    lua_setfield(L, -2, "taskMeta");
    core_push_fast(L);
    lua_setfield(L, -2, "fast");
    core_add_timers(L);
    json_encode_add(L);
    redis_add(L);
    finalizers_add(L);
    collector_add(L);
    profile_add(L);
    watchdog_add(L);
    return 1;
}
