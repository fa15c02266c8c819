#include "lua/finalizers.h"

#include <lauxlib.h>
#include <luajit.h>
#include <signal.h>
#include <stdbool.h>

/* Registry: what the hook is to run. */
#define DUE "links.finalizers"

/* The program's own hook, while ours stands in its place. */
static struct {
    lua_Hook hook;
    int mask, count;
} program;

static bool due, closing;

/* Set by a handler of signals. */
static volatile sig_atomic_t struck;
static void (*on_strike)(lua_State *L);

static void on_event(lua_State *L, lua_Debug *ar);

static void run_finalizers(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, DUE);
    if (lua_pcall(L, 0, 0, 0))
        lua_pop(L, 1); /* the Lua side reports errors, and this is none of a finalizer's */
}

/* What has struck comes last: it may raise. */
static void run_due(lua_State *L)
{
    bool was_due = due, was_struck = struck;
    due = false;
    struck = 0;
    if (lua_gethook(L) == on_event)
        lua_sethook(L, program.hook, program.mask, program.count);
    if (was_due)
        run_finalizers(L);
    if (was_struck)
        on_strike(L);
}

static void on_event(lua_State *L, lua_Debug *ar)
{
    lua_Hook hook = program.hook;
    run_due(L);
    if (hook && ar->event != LUA_HOOKCOUNT)
        hook(L, ar);
}

/* Puts our hook in the place of the program's; false where that cannot be. */
static bool set_hook(lua_State *L)
{
    lua_Hook hook = lua_gethook(L);
    if (closing || (hook != on_event && (lua_gethookmask(L) & LUA_MASKCOUNT)))
        return false;
    if (hook != on_event) {
        program.hook = hook;
        program.mask = lua_gethookmask(L);
        program.count = lua_gethookcount(L);
        lua_sethook(L, on_event, program.mask | LUA_MASKCOUNT, 1);
    }
    return true;
}

void finalizers_on_strike(void (*fn)(lua_State *L)) { on_strike = fn; }

void finalizers_strike(lua_State *L)
{
    struck = 1;
    set_hook(L);
}

/* interrupt(fn) -> boolean: calls fn() before the next instruction, whichever task runs it. False,
 * and nothing, where that cannot be: at the end, and under a hook of the program's that counts
 * instructions, whose count would begin anew each time (it works in interpreted code only). */
static int core_interrupt(lua_State *L)
{
    lua_pushvalue(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, DUE);
    due = set_hook(L);
    lua_pushboolean(L, due);
    return 1;
}

void finalizers_add(lua_State *L)
{
    due = closing = false;
    lua_pushcfunction(L, core_interrupt);
    lua_setfield(L, -2, "interrupt");
}

void finalizers_close(lua_State *L)
{
    closing = true;
    if (due)
        run_due(L);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH);
}
