#include "lua/collector.h"

#include <lauxlib.h>
#include <stdbool.h>

/* An object that nobody holds: each time round the collector finds it, and it leaves another
 * behind. */
#define WITNESS "links.witness"

enum { PAUSE_LUA = 200 }; /* percent of what is alive: LuaJIT's */

static lua_Number cycles;
static int pause;
static bool theirs, closing; /* theirs: the pause is the program's */

static void push_witness(lua_State *L)
{
    lua_newuserdata(L, 0);
    luaL_getmetatable(L, WITNESS);
    lua_setmetatable(L, -2);
}

/* Taken up when this time round has ended, which is soon: finalizers are its last part. */
static void set_pause(lua_State *L)
{
    int alive_kib = lua_gc(L, LUA_GCCOUNT, 0) + 1;
    int least = 100 * (COLLECTOR_LEAST / 1024) / alive_kib;
    int next = least > PAUSE_LUA ? least : PAUSE_LUA;
    int was = lua_gc(L, LUA_GCSETPAUSE, next);
    if (was != pause) {
        theirs = true;
        lua_gc(L, LUA_GCSETPAUSE, was);
    }
    pause = next;
}

static int witness_gc(lua_State *L)
{
    cycles++;
    if (closing)
        return 0;
    if (!theirs)
        set_pause(L);
    push_witness(L);
    return 0;
}

/* gcCycles() -> how often the collector has come round */
static int core_gc_cycles(lua_State *L)
{
    lua_pushnumber(L, cycles);
    return 1;
}

void collector_add(lua_State *L)
{
    cycles = 0;
    theirs = closing = false;
    pause = PAUSE_LUA;
    lua_pushcfunction(L, core_gc_cycles);
    lua_setfield(L, -2, "gcCycles");
    luaL_newmetatable(L, WITNESS);
    lua_pushcfunction(L, witness_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    push_witness(L);
    lua_pop(L, 1);
}

void collector_close(void) { closing = true; }
