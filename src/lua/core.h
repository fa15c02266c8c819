/*
 * The modules that src/lua itself gives to Lua: "links.core" (waiting, tasks, queues) and its
 * timers. They use the C API and not the FFI, since most callers run interpreted, where a C
 * function costs a tenth of an FFI call, and since only a C function may yield.
 */
#ifndef LINKS_LUA_CORE_H
#define LINKS_LUA_CORE_H

#include <lua.h>

enum { TYPE_CDATA = 10 }; /* of lua_type; no header of LuaJIT has a name for it */

/* Pushes the table of "links.core". */
int luaopen_links_core(lua_State *L);

/* Yields to the scheduler, the running task being parked; the status of the wake is the result. To
 * be returned. It is LINKS_REFUSED, at once, where no yield is possible. */
int core_yield_wait(lua_State *L);

/* Pushes the table of the functions that fastcall_add has been given. */
void core_push_fast(lua_State *L);

/* Adds the timer functions to the table on top of the stack. */
void core_add_timers(lua_State *L);

#endif
