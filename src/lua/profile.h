/*
 * LuaJIT's profiler, which the watchdog and whoever looks where the time goes share.
 *
 * Compiled code does not look at hooks. But while the profiler runs, each line of it has a test of
 * one byte, by which a SIGPROF leads back to the interpreter; it costs next to nothing. So the
 * profiler is on for as long as somebody may want to know where a task is, without a timer of its
 * own: signals are sent when there is something to look at.
 */
#ifndef LINKS_LUA_PROFILE_H
#define LINKS_LUA_PROFILE_H

#include <stdbool.h>

#include <lua.h>

/* The profiler is wanted, or not any more, once for each call. With the first and the last one what
 * has been compiled is thrown away. */
void profile_want(lua_State *L, bool wanted);

/* Signals do their work: it is on, and not lent to the program. Any thread. */
bool profile_is_on(void);

/* Called by the handler of SIGPROF; it may do what a handler of signals may. */
void profile_on_signal(void (*fn)(void));

/* Adds profileStart, profileStop, profileLend to the table on top of the stack. */
void profile_add(lua_State *L);

/* Before lua_close. */
void profile_close(lua_State *L);

#endif
