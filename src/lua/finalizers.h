/*
 * When the finalizers that are Lua functions run: lib/links/finalizers.lua gathers them, and here
 * is the moment at which it may run what it has gathered.
 *
 * The collector calls a finalizer in a state of its own, in which LuaJIT before 2023-08-13 does not
 * come back from some compiled loops over pairs: an exit from the trace leads to its own start, and
 * within a finalizer nobody counts the exits (LuaJIT's commit 119fd1fa mends it). Debian 12 has
 * such a LuaJIT. So they run a moment later, when the collector has returned: a hook comes before
 * the next instruction of the program's own, as a signal would; and where tasks end or wait before
 * one comes, when the turn has run its tasks.
 */
#ifndef LINKS_LUA_FINALIZERS_H
#define LINKS_LUA_FINALIZERS_H

#include <lua.h>

#include "base/err.h"

/* Calls what finalizers_on_strike has been given before the next instruction, whosever it is; from
 * a handler of signals, on the thread of the VM. It may raise, in the code that is interrupted.
 * Nothing happens where interrupt(fn) would be refused. */
void finalizers_strike(lua_State *L);
void finalizers_on_strike(void (*fn)(lua_State *L));

/* Runs what is due, where nothing is in the middle of something. */
void finalizers_run(lua_State *L);

/* Adds interrupt(fn) to the table on top of the stack. */
void finalizers_add(lua_State *L);

/* Before lua_close: runs what is due. From now on finalizers run where the collector calls them,
 * with nothing compiled, since no instruction will follow. The library's handles have given theirs
 * to links_finalize_later: lua_close would call them in any order, and those of programs may still
 * use what the library has. */
void finalizers_close(lua_State *L);

/* Has release(handle) called after lua_close. */
LINKS_API void links_finalize_later(void (*release)(void *), void *handle);

/* After lua_close: calls them. */
void finalizers_release(void);

#endif
