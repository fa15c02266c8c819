/*
 * What lib/links/json.lua encodes with. A value is walked through the C API, since the walk would
 * run interpreted in Lua, at three times the cost, and written into one buffer that is kept.
 *
 * Two things are left to Lua, which calls back here: values that C cannot look into (64-bit integers
 * of the FFI, numbers very large or small), and the order of names.
 */
#ifndef LINKS_LUA_JSON_ENCODE_H
#define LINKS_LUA_JSON_ENCODE_H

#include <lua.h>

/* Adds jsonEncoder and jsonLength to the table on top of the stack. */
void json_encode_add(lua_State *L);

#endif
