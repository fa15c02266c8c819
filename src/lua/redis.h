/*
 * What lib/links/redis reads replies and writes commands with. Both run for every command, and
 * code that waits runs interpreted: there one call of a C function is cheaper than the first step
 * of a parser in Lua, or than putting a command together from its parts.
 */
#ifndef LINKS_LUA_REDIS_H
#define LINKS_LUA_REDIS_H

#include <lua.h>

/* Adds redisReader, redisRead and redisCommand to the table on top of the stack. */
void redis_add(lua_State *L);

#endif
