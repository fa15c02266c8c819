/*
 * Timers as Lua sees them. An armed timer is anchored and keeps its function in its userdata's
 * table; when it fires, the function runs in a task of its own.
 */
#include <lauxlib.h>

#include "lua/core.h"
#include "lua/task.h"

typedef struct lua_timer {
    ev_timer timer;
    int ref; /* in the registry while armed; LUA_NOREF else */
    int nargs;
    bool refd;     /* keeps the process alive while armed */
    bool overlaps; /* an interval that begins anew while its last run goes on */
    bool busy;     /* its last run goes on */
    int due;       /* runs whose task has not begun yet */
} lua_timer;

static lua_timer *check_timer(lua_State *L, int idx)
{
    return luaL_checkudata(L, idx, "links.timer");
}

static void hold(lua_timer *t)
{
    if (t->refd)
        ev_ref(sched_loop());
}

static void drop(lua_timer *t)
{
    if (t->refd)
        ev_unref(sched_loop());
}

/* Lets go of the userdata: `t` may be garbage afterwards. */
static void disarm(lua_State *L, lua_timer *t)
{
    if (t->ref == LUA_NOREF)
        return;
    int ref = t->ref;
    t->ref = LUA_NOREF;
    ev_timer_stop(sched_loop(), &t->timer);
    drop(t);
    luaL_unref(L, LUA_REGISTRYINDEX, ref);
}

/* Pushes the function and its arguments. */
static void push_call(lua_State *L, lua_timer *t)
{
    luaL_checkstack(L, t->nargs + 4, NULL);
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->ref);
    lua_getfenv(L, -1);
    lua_remove(L, -2);
    int env = lua_gettop(L);
    for (int i = 1; i <= t->nargs + 1; i++)
        lua_rawgeti(L, env, i);
    lua_remove(L, env);
}

static void on_timer(ev_loop *loop, ev_timer *timer)
{
    (void)loop;
    lua_timer *t = CONTAINER_OF(timer, lua_timer, timer);
    lua_State *L = sched_vm();
    int top = lua_gettop(L), nargs = t->nargs;
    bool skips = t->timer.repeat_ms && !t->overlaps;
    if (skips && t->busy)
        return;
    t->busy = skips;
    t->due++;
    lua_getfield(L, LUA_REGISTRYINDEX, skips ? "links.interval" : "links.timeout");
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->ref);
    push_call(L, t);
    sched_spawn(L, nargs + 2);
    if (!t->timer.repeat_ms)
        disarm(L, t);
    lua_settop(L, top);
}

/* timerStart(delay ms, repeat ms, overlaps, fn, ...) -> timer */
static int core_timer_start(lua_State *L)
{
    lua_Number delay = luaL_checknumber(L, 1);
    lua_Number repeat = luaL_checknumber(L, 2);
    bool overlaps = lua_toboolean(L, 3);
    luaL_checktype(L, 4, LUA_TFUNCTION);
    if (!sched_is_open())
        return luaL_error(L, "cannot start a timer: the program is ending");
    int n = lua_gettop(L) - 3;

    lua_createtable(L, n, 0);
    lua_insert(L, 4);
    for (int i = n; i >= 1; i--)
        lua_rawseti(L, 4, i);
    lua_timer *t = lua_newuserdata(L, sizeof(lua_timer));
    lua_insert(L, 4);
    lua_setfenv(L, 4);
    luaL_getmetatable(L, "links.timer");
    lua_setmetatable(L, 4);

    ev_timer_init(&t->timer, on_timer);
    t->nargs = n - 1;
    t->refd = true;
    t->overlaps = overlaps;
    t->busy = false;
    t->due = 0;
    lua_settop(L, 4);
    t->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->ref);

    int64_t whole = (int64_t)delay;
    ev_now_update(sched_loop());
    ev_timer_start(sched_loop(), &t->timer, whole + ((lua_Number)whole < delay), (int32_t)repeat);
    hold(t);
    return 1;
}

/* timerStop(timer) */
static int core_timer_stop(lua_State *L)
{
    lua_timer *t = check_timer(L, 1);
    t->due = 0;
    disarm(L, t);
    return 0;
}

/* timerBegin(timer) -> false where it has been stopped since it fired */
static int core_timer_begin(lua_State *L)
{
    lua_timer *t = check_timer(L, 1);
    lua_pushboolean(L, t->due > 0);
    if (t->due > 0)
        t->due--;
    return 1;
}

/* timerRef(timer, boolean) */
static int core_timer_ref(lua_State *L)
{
    lua_timer *t = check_timer(L, 1);
    bool refd = lua_toboolean(L, 2);
    if (refd == t->refd)
        return 0;
    if (t->ref != LUA_NOREF)
        drop(t);
    t->refd = refd;
    if (t->ref != LUA_NOREF)
        hold(t);
    return 0;
}

/* timerArmed(timer) -> boolean */
static int core_timer_armed(lua_State *L)
{
    lua_pushboolean(L, check_timer(L, 1)->ref != LUA_NOREF);
    return 1;
}

/* timerIdle(timer): the interval's last run is over. */
static int core_timer_idle(lua_State *L)
{
    check_timer(L, 1)->busy = false;
    return 0;
}

/* Only a VM that closes collects an armed timer. */
static int timer_gc(lua_State *L)
{
    lua_timer *t = check_timer(L, 1);
    if (t->ref != LUA_NOREF)
        ev_timer_stop(sched_loop(), &t->timer);
    return 0;
}

/* onTimer(timeout, interval): timeout(timer, run, ...) carries out a run; interval(timer, run, ...)
 * does so too, and says by timerIdle when it is over. */
static int core_on_timer(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 2);
    lua_setfield(L, LUA_REGISTRYINDEX, "links.interval");
    lua_setfield(L, LUA_REGISTRYINDEX, "links.timeout");
    return 0;
}

void core_add_timers(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"timerStart", core_timer_start}, {"timerStop", core_timer_stop},
        {"timerRef", core_timer_ref},     {"timerArmed", core_timer_armed},
        {"timerBegin", core_timer_begin}, {"timerIdle", core_timer_idle},
        {"onTimer", core_on_timer},       {NULL, NULL},
    };
    luaL_register(L, NULL, functions);
    luaL_newmetatable(L, "links.timer");
    lua_pushcfunction(L, timer_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "timerMeta");
    lua_pop(L, 1);
}
