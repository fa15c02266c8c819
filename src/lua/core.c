#include "lua/core.h"

#include <errno.h>
#include <lauxlib.h>
#include <string.h>

#include "lua/task.h"

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

static int raise_cannot_yield(lua_State *L, const char *where)
{
    push_place(L);
    lua_pushfstring(L, "cannot yield inside %s", where);
    lua_concat(L, 2);
    return lua_error(L);
}

/* Raises the error for a wait below a C function that calls back: it names that function. */
static int cannot_yield(lua_State *L)
{
    lua_Debug ar;
    lua_getfield(L, LUA_REGISTRYINDEX, BUILTINS);
    for (int level = 1; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "fS", &ar);
        if (*ar.what != 'C') {
            lua_pop(L, 1);
            continue;
        }
        lua_rawget(L, -2);
        const char *name = lua_tostring(L, -1);
        if (name && strcmp(name, "pcall") != 0 && strcmp(name, "xpcall") != 0)
            return raise_cannot_yield(L, name);
        lua_pop(L, 1);
    }
    return raise_cannot_yield(L, "a finalizer or a C function that calls back");
}

static int yield_wait(lua_State *L)
{
    if (!lua_isyieldable(L)) {
        if (sched_current())
            sched_unpark(sched_current());
        return cannot_yield(L);
    }
    lua_pushlightuserdata(L, SCHED_WAIT);
    return lua_yield(L, 1);
}

/* wait() -> status: after an FFI call that has answered AGAIN. 0: woken, call again. */
static int core_wait(lua_State *L) { return yield_wait(L); }

static task *running(lua_State *L)
{
    task *t = sched_current();
    if (!t)
        luaL_error(L, "cannot wait here: the program is ending");
    return t;
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

/* The metatables, by address: luaL_checkudata would look them up by name for every wait. */
static const void *queue_meta, *task_meta;

static void *check_userdata(lua_State *L, int idx, const void *meta, const char *name)
{
    void *p = lua_touserdata(L, idx);
    if (p && lua_getmetatable(L, idx)) {
        bool is = lua_topointer(L, -1) == meta;
        lua_pop(L, 1);
        if (is)
            return p;
    }
    luaL_typerror(L, idx, name);
    return NULL;
}

static waitq *check_queue(lua_State *L, int idx)
{
    return check_userdata(L, idx, queue_meta, "queue");
}

/* queue() -> queue */
static int core_queue(lua_State *L)
{
    waitq_init(lua_newuserdata(L, sizeof(waitq)));
    luaL_getmetatable(L, "links.queue");
    lua_setmetatable(L, -2);
    return 1;
}

/* park(queue|nil, ms|nil, what) -> status[, value]. A timeout is -ETIMEDOUT. `what` must be a
 * string that lives as long as the program: a literal of a module. */
static int core_park(lua_State *L)
{
    running(L);
    waitq *q = lua_isnil(L, 1) ? NULL : check_queue(L, 1);
    int64_t ms = wait_ms(L, 2);
    sched_park(q, ms, 0, luaL_checkstring(L, 3));
    return yield_wait(L);
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

/* first(queue) -> task|nil: the one that waits longest */
static int core_first(lua_State *L)
{
    waitq *q = check_queue(L, 1);
    if (waitq_empty(q))
        return 0;
    sched_push(L, CONTAINER_OF(q->tasks.next, task, link));
    return 1;
}

/* yield() -> status: to the end of the next turn's queue. */
static int core_yield(lua_State *L)
{
    sched_yield(running(L));
    return yield_wait(L);
}

/* --- tasks --------------------------------------------------------------------------------- */

static task *check_task(lua_State *L, int idx) { return check_userdata(L, idx, task_meta, "task"); }

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
    if (!t)
        return 0;
    sched_push(L, t);
    return 1;
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

/* inherits(task): it has local values. */
static int core_inherits(lua_State *L)
{
    check_task(L, 1)->inherits = true;
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
    return yield_wait(L);
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

/* deadline([ms from now | false | nil]) -> token: narrows the running task's deadline. */
static int core_deadline_push(lua_State *L)
{
    task *t = running(L);
    int64_t at = ev_now_update(sched_loop()) + (int64_t)luaL_checknumber(L, 1);
    lua_pushnumber(L, (lua_Number)t->deadline_ms);
    lua_pushboolean(L, t->cut);
    if (at <= 0)
        at = 1; /* 0 says that there is none */
    if (!t->deadline_ms || at < t->deadline_ms)
        t->deadline_ms = at;
    t->cut = false;
    return 2;
}

/* deadlinePop(old deadline, old cut) -> boolean: this one has cut a wait short. */
static int core_deadline_pop(lua_State *L)
{
    task *t = running(L);
    bool cut = t->cut;
    int64_t outer = (int64_t)luaL_checknumber(L, 1);
    /* Where the outer one was the nearer, it is the outer one that struck. */
    t->cut = lua_toboolean(L, 2) || (cut && outer && outer <= t->deadline_ms);
    t->deadline_ms = outer;
    lua_pushboolean(L, cut);
    return 1;
}

/* shieldPush() -> old deadline: no cancel and no outer deadline reaches the task until the pop. */
static int core_shield_push(lua_State *L)
{
    task *t = running(L);
    lua_pushnumber(L, (lua_Number)t->deadline_ms);
    t->deadline_ms = 0;
    t->shields++;
    return 1;
}

static int core_shield_pop(lua_State *L)
{
    task *t = running(L);
    t->deadline_ms = (int64_t)luaL_checknumber(L, 1);
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
        {"handles", ev_refs(sched_loop())},
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
        {"yield", core_yield},
        {"spawn", core_spawn},
        {"current", core_current},
        {"env", core_env},
        {"cancel", core_cancel},
        {"own", core_own},
        {"inherits", core_inherits},
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
        {"now", core_now},
        {"stats", core_stats},
        {"statsReset", core_stats_reset},
        {NULL, NULL},
    };
    luaL_newmetatable(L, "links.task");
    luaL_newmetatable(L, "links.queue");
    queue_meta = lua_topointer(L, -1);
    task_meta = lua_topointer(L, -2);
    lua_pop(L, 2);
    remember_builtins(L);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    lua_pushlightuserdata(L, SCHED_WAIT);
    lua_setfield(L, -2, "WAIT");
    luaL_getmetatable(L, "links.task");
    lua_setfield(L, -2, "taskMeta");
    core_add_timers(L);
    return 1;
}
