#include "lua/finalizers.h"

#include <lauxlib.h>
#include <luajit.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"

/* Registry: what the hook is to run, and what finalizers_close is. */
#define DUE    "links.finalizers"
#define AT_END "links.finalizers.end"

/* The program's own hook, while ours stands in its place. */
static struct {
    lua_Hook hook;
    int mask, count;
} program;

/* How many instructions of the library are waited for one by one, each of which costs as much as 50
 * then: from the first object on, and for each further one. After that only every so many is looked
 * at. */
enum { PATIENCE = 1000, PATIENCE_MORE = 32, SELDOM = 1000 };

/* For links_finalize_later. */
typedef struct later {
    struct later *next;
    void (*release)(void *);
    void *handle;
} later;

static later *all_later;

static bool due, closing;
static int patience;

/* Set by a handler of signals. */
static volatile sig_atomic_t struck;
static void (*on_strike)(lua_State *L);

static void on_event(lua_State *L, lua_Debug *ar);

static void call(lua_State *L, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, name);
    if (lua_pcall(L, 0, 0, 0))
        lua_pop(L, 1); /* the Lua side reports errors, and this is none of a finalizer's */
}

static void take_hook_back(lua_State *L)
{
    if (lua_gethook(L) == on_event)
        lua_sethook(L, program.hook, program.mask, program.count);
}

/* Whether the next instruction is one of the library's, or not known yet: at an event that the
 * program's hook is for, the count is still to come. The library's functions share buffers and
 * readers, which they have done with when they call the program or wait: until then a finalizer
 * that calls one of them, to log something, say, would take away what another is at. */
static bool is_within_library(lua_State *L, lua_Debug *ar)
{
    return ar->event != LUA_HOOKCOUNT ||
           (lua_getinfo(L, "S", ar) && strncmp(ar->source, "=links/", 7) == 0);
}

static void on_event(lua_State *L, lua_Debug *ar)
{
    lua_Hook hook = program.hook;
    bool was_struck = struck, must_wait = due && is_within_library(L, ar);
    struck = 0;
    if (must_wait) {
        if (--patience <= 0)
            lua_sethook(L, on_event, program.mask | LUA_MASKCOUNT, SELDOM);
    } else {
        take_hook_back(L);
        finalizers_run(L);
    }
    if (was_struck)
        on_strike(L); /* the last, for it may raise */
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
    }
    lua_sethook(L, on_event, program.mask | LUA_MASKCOUNT, 1);
    return true;
}

void finalizers_on_strike(void (*fn)(lua_State *L)) { on_strike = fn; }

void finalizers_strike(lua_State *L)
{
    struck = 1;
    set_hook(L);
}

void finalizers_run(lua_State *L)
{
    if (!due)
        return;
    due = false;
    if (!struck)
        take_hook_back(L);
    call(L, DUE);
}

/* interrupt(fn) -> boolean: calls fn() before the next instruction of the program's own, whichever
 * task runs it, or when the turn has run its tasks. False, and nothing, where that cannot be: at
 * the end, and under a hook of the program's that counts instructions, whose count would begin anew
 * each time (it works in interpreted code only). */
static int core_interrupt(lua_State *L)
{
    lua_pushvalue(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, DUE);
    if (!due)
        patience = PATIENCE;
    else if (patience < PATIENCE_MORE)
        patience = PATIENCE_MORE;
    due = set_hook(L);
    lua_pushboolean(L, due);
    return 1;
}

/* finalizeLast(fn): calls fn() when nothing but lua_close is left. */
static int core_finalize_last(lua_State *L)
{
    lua_pushvalue(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, AT_END);
    return 0;
}

void finalizers_add(lua_State *L)
{
    due = closing = false;
    lua_pushcfunction(L, core_interrupt);
    lua_setfield(L, -2, "interrupt");
    lua_pushcfunction(L, core_finalize_last);
    lua_setfield(L, -2, "finalizeLast");
}

void links_finalize_later(void (*release)(void *), void *handle)
{
    later *l = mem_new(later);
    *l = (later){.next = all_later, .release = release, .handle = handle};
    all_later = l;
}

void finalizers_release(void)
{
    while (all_later) {
        later *l = all_later;
        all_later = l->next;
        l->release(l->handle);
        mem_free(l);
    }
}

void finalizers_close(lua_State *L)
{
    closing = true;
    finalizers_run(L);
    call(L, AT_END);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH);
}
