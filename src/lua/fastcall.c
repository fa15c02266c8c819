#include "lua/fastcall.h"

#include <lauxlib.h>
#include <math.h>

#include "lua/core.h"
#include "lua/task.h"

static int trampoline(lua_State *L)
{
    fastcall_fn *fn = (fastcall_fn *)lua_touserdata(L, lua_upvalueindex(1));
    fastcall call = {0};

    /* Of a pointer that is a cdata, LuaJIT gives the place where the pointer lies. */
    if (lua_type(L, 1) != TYPE_CDATA)
        return luaL_typerror(L, 1, "handle");
    call.object = *(void *const *)lua_topointer(L, 1);
    if (lua_type(L, 2) == LUA_TSTRING)
        call.data = lua_tolstring(L, 2, &call.len);
    else
        call.number = lua_type(L, 2) == LUA_TNUMBER ? lua_tonumber(L, 2) : NAN;

    ptrdiff_t n = fn(&call);
    if (n == LINKS_AGAIN)
        return core_yield_wait(L);
    if (n >= 0 && call.out)
        lua_pushlstring(L, call.out, (size_t)n);
    else
        lua_pushnumber(L, (lua_Number)n);
    if (!call.extra)
        return 1;
    lua_pushinteger(L, call.extra);
    return 2;
}

void fastcall_add(const char *name, fastcall_fn *fn)
{
    lua_State *L = sched_vm();
    int top = lua_gettop(L);
    core_push_fast(L);
    lua_pushlightuserdata(L, (void *)fn);
    lua_pushcclosure(L, trampoline, 1);
    lua_setfield(L, -2, name);
    lua_settop(L, top);
}
