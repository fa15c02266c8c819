#include "lua/objects.h"

#include <lauxlib.h>
#include <luajit.h>

static bool is_string(object_value v, lua_State *L, int idx)
{
    size_t len;
    const char *data = lua_tolstring(L, idx, &len);
    const object_string *s = object_pointer(v);
    return object_tag(v) == OBJECT_STRING && s == lua_topointer(L, idx) && s->data == data &&
           s->len == len;
}

static bool is_number(object_value v, double number)
{
    if (object_tag(v) == OBJECT_INTEGER)
        return (int32_t)v.bits == number;
    return object_is_number(v) && v.number == number;
}

/* The only key that is not nil in the nodes of `t`. */
static const object_node *only_node(const object_table *t)
{
    const object_node *found = NULL;
    for (uint32_t i = 0; i <= t->node_mask; i++) {
        if (object_is_nil(t->nodes[i].value))
            continue;
        if (found)
            return NULL;
        found = &t->nodes[i];
    }
    return found;
}

/* { [1] = 1.5, [2] = -7, [3] = "slot", [4] = {}, [5] = true, [6] = false }, which has room for one
 * more, and a member named "node" with a metatable. */
static void push_sample(lua_State *L)
{
    lua_createtable(L, 7, 2);
    lua_pushnumber(L, 1.5);
    lua_rawseti(L, -2, 1);
    lua_pushinteger(L, -7);
    lua_rawseti(L, -2, 2);
    lua_pushliteral(L, "slot");
    lua_rawseti(L, -2, 3);
    lua_newtable(L);
    lua_rawseti(L, -2, 4);
    lua_pushboolean(L, true);
    lua_rawseti(L, -2, 5);
    lua_pushboolean(L, false);
    lua_rawseti(L, -2, 6);
    lua_pushliteral(L, "node");
    lua_pushliteral(L, "a string of another length");
    lua_rawset(L, -3);
    lua_newtable(L);
    lua_setmetatable(L, -2);
}

bool objects_known(lua_State *L)
{
    if (LUAJIT_VERSION_NUM < 20100 || LUAJIT_VERSION_NUM >= 20200 || sizeof(void *) != 8)
        return false;
    int top = lua_gettop(L);
    push_sample(L);
    const object_table *t = lua_topointer(L, top + 1);
    lua_rawgeti(L, top + 1, 3);
    lua_rawgeti(L, top + 1, 4);
    lua_getmetatable(L, top + 1);
    lua_pushliteral(L, "node");
    lua_rawget(L, top + 1);
    lua_pushliteral(L, "node");

    /* In this order: nothing is followed before what it lies in has been found to be right. */
    bool known = t->type == (uint8_t)~OBJECT_TABLE && t->slot_count == 8 && t->node_mask == 1 &&
                 t->meta == lua_topointer(L, top + 4) && object_is_nil(t->slots[0]) &&
                 is_number(t->slots[1], 1.5) && is_number(t->slots[2], -7) &&
                 is_string(t->slots[3], L, top + 2) && object_tag(t->slots[4]) == OBJECT_TABLE &&
                 object_pointer(t->slots[4]) == lua_topointer(L, top + 3) &&
                 object_tag(t->slots[5]) == OBJECT_TRUE &&
                 object_tag(t->slots[6]) == OBJECT_FALSE && object_is_nil(t->slots[7]);
    const object_node *node = known ? only_node(t) : NULL;
    known = node && is_string(node->value, L, top + 5) && is_string(node->key, L, top + 6);
    lua_settop(L, top);
    return known;
}

object_value object_null(lua_State *L)
{
    lua_createtable(L, 1, 0);
    lua_pushlightuserdata(L, NULL);
    lua_rawseti(L, -2, 1);
    const object_table *t = lua_topointer(L, -1);
    object_value null = t->slots[1];
    lua_pop(L, 1);
    return null;
}
