/*
 * How Lua's collector is kept. It begins anew when the heap has grown by its pause, a part of what
 * is alive: by default, by as much as that. A server's heap is small and nearly all of it lives for
 * ever, so that it would be gone through time and again for a few hundred KiB each: a third of what
 * a JSON answer costs a program. Here a heap is left alone until it has COLLECTOR_LEAST.
 *
 * A program that sets a pause of its own, by collectgarbage("setpause"), has that one from then on.
 */
#ifndef LINKS_LUA_COLLECTOR_H
#define LINKS_LUA_COLLECTOR_H

#include <lua.h>

enum { COLLECTOR_LEAST = 4 << 20 }; /* bytes */

/* Begins, and adds gcCycles to the table on top of the stack. */
void collector_add(lua_State *L);

/* Before lua_close. */
void collector_close(void);

#endif
