#include "lua/safepoints.h"

#include <lauxlib.h>
#include <luajit.h>
#include <stddef.h>
#include <string.h>

#include "lua/task.h"

enum {
    SCAN_MAX =
        16384, /* bytes behind the main thread's state; the number is among the first 8 KiB */
    FIRST = 2, /* instructions; the compiler leaves out the first one after some returns */
};

#define FUNCTIONS "fi2000000000"

/* Chunks of links that each request runs: they neither loop for long nor call C that does. */
#define HOT "=links/http"

/* Registry: the program's own functions for the two events, and LuaJIT's jit.attach. */
#define ON_TRACE  "links.onTrace"
#define ON_RECORD "links.onRecord"
#define ATTACH    "links.attach"

static struct {
    volatile int *mode; /* LuaJIT's; NULL: not found */
    bool attached;
    bool on, everywhere;
    int first;    /* instructions of a trace that are still to come */
    bool was_hot; /* the instruction before this one */
} points;

/* --- finding ------------------------------------------------------------------------------------ */

static void no_sample(void *data, lua_State *L, int samples, int vmstate)
{
    (void)data;
    (void)L;
    (void)samples;
    (void)vmstate;
}

/* Whether the number says what the profiler has been told. */
static bool follows(lua_State *L, volatile int *at, const char *mode)
{
    luaJIT_profile_stop(L);
    if (*at != 0)
        return false;
    luaJIT_profile_start(L, mode, no_sample, NULL);
    return *at == *mode;
}

static bool has_compiler(lua_State *L)
{
    lua_getglobal(L, "jit");
    lua_getfield(L, -1, "opt");
    bool has = lua_istable(L, -1);
    lua_pop(L, 2);
    return has;
}

/* The state of the compiler is behind that of the main thread, in one piece of memory. */
static void find(lua_State *L)
{
    if (!has_compiler(L))
        return;
    luaJIT_profile_start(L, SAFEPOINTS_MODE, no_sample, NULL);
    char *state = (char *)sched_vm();
    for (size_t at = 0; at < SCAN_MAX && !points.mode; at += sizeof(int)) {
        volatile int *number = (volatile int *)(state + at);
        if (*number == *SAFEPOINTS_MODE && follows(L, number, FUNCTIONS) &&
            follows(L, number, SAFEPOINTS_MODE))
            points.mode = number;
    }
    luaJIT_profile_stop(L);
}

/* --- recording ---------------------------------------------------------------------------------- */

/* The program's own function for this event, with what ours has been given. */
static int call_programs(lua_State *L, const char *key)
{
    int n = lua_gettop(L);
    lua_getfield(L, LUA_REGISTRYINDEX, key);
    if (lua_isnil(L, -1))
        return 0;
    lua_insert(L, 1);
    lua_call(L, n, 0);
    return 0;
}

static bool is_hot(lua_State *L, int function)
{
    lua_Debug ar;
    lua_pushvalue(L, function);
    lua_getinfo(L, ">S", &ar);
    return strncmp(ar.source, HOT, sizeof(HOT) - 1) == 0;
}

/* ("start" or what else happens to a trace, ...) */
static int on_trace(lua_State *L)
{
    if (strcmp(luaL_checkstring(L, 1), "start") == 0) {
        points.first = FIRST;
        points.was_hot = false;
    }
    return call_programs(L, ON_TRACE);
}

/* (number of the trace, function, position or -1 in LuaJIT's own functions, depth): before that
 * instruction is recorded. */
static int on_record(lua_State *L)
{
    if (points.mode && points.on && !points.everywhere && lua_tointeger(L, 3) >= 0) {
        bool hot = is_hot(L, 2);
        *points.mode = !hot || !points.was_hot || points.first > 0 ? *SAFEPOINTS_MODE : 0;
        points.was_hot = hot;
        if (points.first > 0)
            points.first--;
    }
    return call_programs(L, ON_RECORD);
}

/* What of the compiler's events is ours, and called first. */
static const struct {
    const char *name;
    lua_CFunction fn;
    const char *key;
} events[] = {{"trace", on_trace, ON_TRACE}, {"record", on_record, ON_RECORD}};

enum { NEVENTS = sizeof(events) / sizeof(*events) };

static void attach_ours(lua_State *L, int i)
{
    lua_getfield(L, LUA_REGISTRYINDEX, ATTACH);
    lua_pushcfunction(L, events[i].fn);
    lua_pushstring(L, events[i].name);
    lua_call(L, 2, 0);
}

/* Where it is called for this event. */
static void forget(lua_State *L, int fn, const char *key)
{
    lua_getfield(L, LUA_REGISTRYINDEX, key);
    if (lua_rawequal(L, fn, -1)) {
        lua_pushnil(L);
        lua_setfield(L, LUA_REGISTRYINDEX, key);
    }
    lua_pop(L, 1);
}

/* jit.attach(fn[, event]): without an event, fn is called no more. */
static int attach(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    const char *event = luaL_optstring(L, 2, NULL);
    lua_settop(L, event ? 2 : 1);
    for (int i = 0; i < NEVENTS; i++) {
        if (!event) {
            forget(L, 1, events[i].key);
        } else if (strcmp(event, events[i].name) == 0) {
            lua_pushvalue(L, 1);
            lua_setfield(L, LUA_REGISTRYINDEX, events[i].key);
            attach_ours(L, i);
            return 0;
        }
    }
    lua_getfield(L, LUA_REGISTRYINDEX, ATTACH);
    lua_insert(L, 1);
    lua_call(L, event ? 2 : 1, 0);
    return 0;
}

void safepoints_open(lua_State *L)
{
    memset(&points, 0, sizeof(points));
    lua_getglobal(L, "jit");
    lua_getfield(L, -1, "attach");
    lua_setfield(L, LUA_REGISTRYINDEX, ATTACH);
    lua_pushcfunction(L, attach);
    lua_setfield(L, -2, "attach");
    lua_pop(L, 1);
}

/* --- on and off --------------------------------------------------------------------------------- */

void safepoints_begin(lua_State *L)
{
    if (!points.attached) {
        points.attached = true;
        find(L);
        for (int i = 0; i < NEVENTS; i++)
            attach_ours(L, i);
    }
    points.on = true;
}

void safepoints_end(void) { points.on = false; }

void safepoints_everywhere(lua_State *L, bool everywhere)
{
    points.everywhere = everywhere;
    if (!points.on)
        return;
    if (points.mode)
        *points.mode = *SAFEPOINTS_MODE;
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH);
}
