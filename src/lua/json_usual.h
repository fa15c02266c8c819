/*
 * Encodes what most values are, and leaves the rest: strings, numbers, booleans and null; lists,
 * whose keys are 1 to n and lie in order; objects, whose keys are strings. It reads them where they
 * lie (see objects.h), which costs a fifth of the walk through Lua's stack.
 */
#ifndef LINKS_LUA_JSON_USUAL_H
#define LINKS_LUA_JSON_USUAL_H

#include <stdbool.h>

#include "lua/json_out.h"
#include "lua/objects.h"

typedef struct json_usual {
    const void *array_meta, *object_meta, *raw_meta; /* the tables' addresses */
    object_value null;
} json_usual;

/* Writes a table, of so many levels at most. False where something in it is not usual, and has been
 * written in part: the encoder that knows all values is to be asked. Calls no Lua, and makes no
 * object of it. */
bool json_usual_put(json_out *out, const json_usual *known, const object_table *table, int levels,
                    bool empty_is_array);

#endif
