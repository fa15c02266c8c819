#include "lua/objects.h"

#include <criterion/criterion.h>
#include <lauxlib.h>
#include <lualib.h>

static lua_State *L;

static void open_state(void)
{
    L = luaL_newstate();
    cr_assert_not_null(L);
}

static void close_state(void) { lua_close(L); }

TestSuite(objects, .init = open_state, .fini = close_state, .timeout = 120);

/* Otherwise JSON is written at a third of the speed, and nobody is told. */
Test(objects, are_known_of_this_luajit)
{
    luaL_openlibs(L);
    cr_assert_eq(luaL_dostring(L, "return require('ffi').abi('gc64')"), 0);
    if (!lua_toboolean(L, -1))
        cr_skip_test("this LuaJIT has references of 32 bits");
    lua_settop(L, 0);
    cr_assert(objects_known(L));
    cr_assert_eq(lua_gettop(L), 0);
}

Test(objects, show_a_table_while_it_grows)
{
    lua_newtable(L);
    const object_table *t = lua_topointer(L, -1);
    for (int i = 1; i <= 100; i++) {
        lua_pushnumber(L, i + 0.5);
        lua_rawseti(L, 1, i);
        lua_pushfstring(L, "name %d", i);
        lua_pushboolean(L, true);
        lua_rawset(L, 1);
    }
    uint32_t found = 0, named = 0;
    while (found + 1 < t->slot_count && t->slots[found + 1].number == found + 1.5)
        found++;
    for (uint32_t i = 0; i <= t->node_mask; i++)
        named += object_tag(t->nodes[i].key) == OBJECT_STRING &&
                 object_tag(t->nodes[i].value) == OBJECT_TRUE;
    cr_assert_geq(found, 64); /* of a hundred; the others may have become nodes */
    cr_assert_eq(named, 100);
}

Test(objects, null_is_told_from_other_light_userdata)
{
    static int other;
    object_value null = object_null(L);
    lua_createtable(L, 2, 0);
    lua_pushlightuserdata(L, &other);
    lua_rawseti(L, -2, 1);
    lua_pushlightuserdata(L, NULL);
    lua_rawseti(L, -2, 2);
    const object_table *t = lua_topointer(L, -1);
    cr_assert_neq(t->slots[1].bits, null.bits);
    cr_assert_eq(t->slots[2].bits, null.bits);
}
