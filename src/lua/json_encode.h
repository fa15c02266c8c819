/*
 * What lib/links/json.lua encodes with. The usual values are read where they lie (json_usual.h).
 * The rest, what cannot be encoded, and what is wanted in another form than the shortest, is walked
 * through the C API; in Lua the walk would run interpreted, at three times the cost.
 *
 * Two things are left to Lua, which is called back: values that C cannot look into (64-bit integers
 * of the FFI, numbers very large or small), and the order of names.
 */
#ifndef LINKS_LUA_JSON_ENCODE_H
#define LINKS_LUA_JSON_ENCODE_H

#include <lua.h>

#include "base/err.h"

typedef struct links_json_text links_json_text;

/* Writes the value that the encoder's table has, and returns the length of the text; -1 where it is
 * not a usual one.
 *
 * This is for compiled code. A trace ends at a call of encode(), a function of Lua's C API, and all
 * that is alive there is put into memory first, the request and the response of a handler; by the
 * FFI it goes on. But through the FFI there is no way to the caller's stack, so the value comes by
 * a table. */
LINKS_API int links_json_write(links_json_text *self);

/* Gives the memory of a text back that has been used, where that is much. */
LINKS_API void links_json_drop(links_json_text *self);

/* Adds jsonEncoder and jsonLength to the table on top of the stack. */
void json_encode_add(lua_State *L);

#endif
