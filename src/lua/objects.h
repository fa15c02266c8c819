/*
 * LuaJIT's values, strings and tables as they lie in memory, to be read only.
 *
 * The public interface walks a table by looking each key up again to find the one behind it, and
 * hands out what it finds over a stack, a call at a time. Who reads much, and lets no Lua run
 * meanwhile, can go from slot to slot instead.
 *
 * This is the layout of LuaJIT 2.1 with references of 64 bits (lj_obj.h, LJ_GC64), which has stood
 * since 2.1 has had them. Nobody promises it: objects_known() holds it against the library that is
 * linked, and who finds it false takes the public interface.
 */
#ifndef LINKS_LUA_OBJECTS_H
#define LINKS_LUA_OBJECTS_H

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

/* A number, or 17 bits of a tag and 47 of a pointer. */
typedef union object_value {
    uint64_t bits;
    double number;
} object_value;

typedef struct object_string {
    uint64_t next_object;
    uint8_t mark, type, reserved, hash_kind;
    uint32_t id, hash, len;
    char data[];
} object_string;

typedef struct object_node {
    object_value value, key;
    struct object_node *next;
} object_node;

typedef struct object_table {
    uint64_t next_object;
    uint8_t mark, type, no_metamethods;
    int8_t colocated;
    object_value *slots; /* of the keys 0 to slot_count - 1 */
    uint64_t gray;
    const struct object_table *meta;
    object_node *nodes; /* of all other keys: node_mask + 1 of them, free ones too */
    uint32_t slot_count, node_mask;
    object_node *free_node;
} object_table;

/* The tags; what is below the last is a number. Integers are there on machines that have them as
 * Lua's numbers, such as ARM's. */
enum object_tag {
    OBJECT_INTEGER = -14,
    OBJECT_TABLE = -12,
    OBJECT_STRING = -5,
    OBJECT_TRUE = -3,
    OBJECT_FALSE = -2,
    OBJECT_NIL = -1,
};

/* Whether the linked LuaJIT has its objects so. */
bool objects_known(lua_State *L);

/* The light userdata of NULL, which the state has for its life. */
object_value object_null(lua_State *L);

static inline bool object_is_nil(object_value v) { return v.bits == UINT64_MAX; }

static inline int object_tag(object_value v) { return (int)((int64_t)v.bits >> 47); }

/* Tags are negative, and so is a number's sign; as unsigned, numbers are below all tags. */
static inline bool object_is_number(object_value v)
{
    return (uint32_t)object_tag(v) < (uint32_t)OBJECT_INTEGER;
}

static inline const void *object_pointer(object_value v)
{
    return (const void *)(uintptr_t)(v.bits & ((1ull << 47) - 1));
}

#endif
