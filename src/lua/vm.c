#include "lua/vm.h"

#include <errno.h>
#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/collector.h"
#include "lua/core.h"
#include "lua/finalizers.h"
#include "lua/lualib.h"
#include "lua/profile.h"
#include "lua/task.h"
#include "lua/watchdog.h"
#include "version.h"

static struct {
    lua_State *L;
    ev_loop *loop;
    int main_ref; /* the main task's userdata, in the registry */
    bool ending;  /* everything has been cancelled */
    bool exit_asked;
    int exit_code;
    char last_words[256];
} vm;

/* --- the embedded library ------------------------------------------------------------------ */

/* Runs the chunk of one embedded file; upvalue 1 is its index. A function of package.preload. */
static int load_embedded(lua_State *L)
{
    const lualib_file *file = &lualib_files[lua_tointeger(L, lua_upvalueindex(1))];
    if (luaL_loadbuffer(L, file->data, file->size, file->chunk))
        return lua_error(L);
    lua_pushstring(L, file->name);
    lua_call(L, 1, 1);
    return 1;
}

static void preload(lua_State *L)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    for (size_t i = 0; i < lualib_count; i++) {
        lua_pushinteger(L, (lua_Integer)i);
        lua_pushcclosure(L, load_embedded, 1);
        lua_setfield(L, -2, lualib_files[i].name);
    }
    lua_pop(L, 1);
    lua_getfield(L, -1, "loaded");
    luaopen_links_core(L);
    lua_setfield(L, -2, "links.core");
    lua_pop(L, 2);
}

/* --- exit ---------------------------------------------------------------------------------- */

/* exit(code): the loop ends with this turn, and the process with that code. */
static int core_exit(lua_State *L)
{
    vm.exit_asked = true;
    vm.exit_code = (int)luaL_optinteger(L, 1, 0);
    ev_loop_stop(vm.loop);
    return 0;
}

/* lastWords(message|nil): for the case that the program ends by itself, with nothing else to
 * say. */
static int core_last_words(lua_State *L)
{
    snprintf(vm.last_words, sizeof(vm.last_words), "%s", luaL_optstring(L, 1, ""));
    return 0;
}

const char *vm_last_words(void) { return *vm.last_words ? vm.last_words : NULL; }

bool vm_exit_asked(int *code)
{
    if (vm.exit_asked)
        *code = vm.exit_code;
    return vm.exit_asked;
}

/* --- life ---------------------------------------------------------------------------------- */

#ifdef LINKS_SANITIZED
/* The sanitizer looks for leaks at every exit, and does not see LuaJIT's own heap: in malloc's, it
 * finds what Lua holds. */
static void *allocate(void *unused, void *block, size_t old_size, size_t size)
{
    (void)unused;
    (void)old_size;
    if (size)
        return realloc(block, size);
    free(block);
    return NULL;
}

static lua_State *new_state(void) { return lua_newstate(allocate, NULL); }
#else
static lua_State *new_state(void) { return luaL_newstate(); }
#endif

int vm_open(ev_loop *loop)
{
    memset(&vm, 0, sizeof(vm));
    vm.main_ref = LUA_NOREF;
    vm.loop = loop;
    vm.L = new_state();
    if (!vm.L)
        return -ENOMEM;
    lua_gc(vm.L, LUA_GCSTOP, 0); /* not while everything is made */
    luaL_openlibs(vm.L);
    sched_open(loop, vm.L);
    preload(vm.L);
    lua_getfield(vm.L, LUA_REGISTRYINDEX, "_LOADED");
    lua_getfield(vm.L, -1, "links.core");
    lua_pushcfunction(vm.L, core_exit);
    lua_setfield(vm.L, -2, "exit");
    lua_pushcfunction(vm.L, core_last_words);
    lua_setfield(vm.L, -2, "lastWords");
    lua_pop(vm.L, 2);
    lua_gc(vm.L, LUA_GCRESTART, 0);
    return 0;
}

void vm_close(void)
{
    watchdog_close(vm.L);
    profile_close(vm.L);
    sched_close();
    finalizers_close(vm.L);
    collector_close();
    lua_close(vm.L);
    finalizers_release();
    vm.L = NULL;
}

static void push_args(lua_State *L, const vm_program *p)
{
    lua_newtable(L);
    /* As the lua program does it: the script is number 0, what stands before it is negative. */
    for (int i = 0; i < p->argc; i++) {
        lua_pushstring(L, p->argv[i]);
        lua_rawseti(L, -2, i - p->script);
    }
}

static void push_first(lua_State *L, const vm_program *p)
{
    lua_newtable(L);
    for (int i = 0; i < p->nfirst; i++) {
        lua_newtable(L);
        lua_pushlstring(L, &p->first[i].kind, 1);
        lua_setfield(L, -2, "kind");
        lua_pushstring(L, p->first[i].text);
        lua_setfield(L, -2, "text");
        lua_rawseti(L, -2, i + 1);
    }
}

/* The boot module has no task to run in yet: it is loaded here, and may not wait. */
static void push_boot(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "links.boot");
    if (lua_pcall(L, 1, 1, 0)) {
        fprintf(stderr, "links: %s\n", lua_tostring(L, -1));
        vm.exit_asked = true;
        vm.exit_code = 1;
    }
}

void vm_start(const vm_program *p)
{
    lua_State *L = vm.L;
    push_boot(L);
    if (vm.exit_asked) {
        lua_pop(L, 1);
        return;
    }
    lua_newtable(L);
    push_first(L, p);
    lua_setfield(L, -2, "first");
    push_args(L, p);
    lua_setfield(L, -2, "arg");
    if (p->script)
        lua_pushstring(L, p->argv[p->script]);
    else
        lua_pushnil(L);
    lua_setfield(L, -2, "script");
    lua_pushboolean(L, p->from_stdin);
    lua_setfield(L, -2, "stdin");
    lua_pushboolean(L, p->strict);
    lua_setfield(L, -2, "strict");
    lua_pushstring(L, p->tool);
    lua_setfield(L, -2, "tool");
    lua_pushstring(L, p->workers);
    lua_setfield(L, -2, "workers");
    lua_pushboolean(L, p->is_worker);
    lua_setfield(L, -2, "isWorker");
    lua_pushboolean(L, p->is_service);
    lua_setfield(L, -2, "isService");
    sched_spawn(L, 1);
    vm.main_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

static task *main_task(void)
{
    lua_rawgeti(vm.L, LUA_REGISTRYINDEX, vm.main_ref);
    task *t = lua_touserdata(vm.L, -1);
    lua_pop(vm.L, 1);
    return t;
}

bool vm_main_over(void)
{
    task *t = main_task();
    return !t || t->state >= TASK_DONE;
}

bool vm_main_failed(void)
{
    task *t = main_task();
    return t && t->state == TASK_FAILED;
}

const char *vm_main_waits(void)
{
    task *t = main_task();
    return t && t->state == TASK_PARKED ? t->what : NULL;
}

static void cancel_one(task *t, void *arg)
{
    (*(int *)arg)++;
    t->owned = true; /* nobody needs to hear of a task that fails because all is ending */
    sched_cancel(t);
}

static void count_one(task *t, void *arg)
{
    (void)t;
    (*(int *)arg)++;
}

/* Only what runs now is cancelled: what cleaning up starts, is to run. */
int vm_cancel_all(void)
{
    int n = 0;
    if (vm.ending) {
        sched_each(count_one, &n);
        return n;
    }
    vm.ending = true;
    lua_getfield(vm.L, LUA_REGISTRYINDEX, "links.end");
    bool told = lua_isfunction(vm.L, -1) && lua_pcall(vm.L, 0, 0, 0) == 0;
    sched_each(told ? count_one : cancel_one, &n);
    lua_settop(vm.L, 0);
    return n;
}

void vm_print_versions(void) { printf("links %s\n%s\n", LINKS_VERSION, LUAJIT_VERSION); }
