/*
 * When finalizers run: core.interrupt of src/lua/finalizers.c, which they come by. The library's
 * side of it is tested by programs: tests/integration/finalizers_spec.lua.
 */
#include "lua/finalizers.h"

#include <criterion/criterion.h>
#include <lauxlib.h>

#include "lua/task.h"
#include "lua/vm.h"

static ev_loop *loop;
static lua_State *L;

static void open_all(void)
{
    loop = ev_loop_new();
    cr_assert_not_null(loop);
    cr_assert_eq(vm_open(loop), 0);
    L = sched_vm();
    cr_assert_eq(luaL_dostring(L,
                               "interrupt, log = require('links.core').interrupt, ''"
                               " function note(s) log = log .. s end"
                               " function due() note 'due ' end"),
                 0);
}

static void close_all(void)
{
    vm_close();
    ev_loop_free(loop);
}

static const char *so_far(void)
{
    lua_getglobal(L, "log");
    return lua_tostring(L, -1);
}

/* Runs the code, and returns what has been noted. */
static const char *noted(const char *code)
{
    cr_assert_eq(luaL_dostring(L, code), 0, "%s", lua_tostring(L, -1));
    return so_far();
}

TestSuite(finalizers, .init = open_all, .fini = close_all, .timeout = 120);

Test(finalizers, run_once_and_before_the_next_instruction)
{
    cr_assert_str_eq(noted("note(tostring(interrupt(due)) .. ' ') interrupt(due) interrupt(due)"
                           " for i = 1, 3 do note(i .. ' ') end"),
                     "due true due due 1 2 3 ");
}

/* What a function of the library is: `code`, which is to name what it has done in `log`. */
#define LIBRARY(code) "local library = load(\"" code "\", '=links/x') "

Test(finalizers, wait_for_the_end_of_what_the_library_is_at)
{
    cr_assert_str_eq(noted(LIBRARY("interrupt(due) log = log .. 'in '") "library() note 'out'"),
                     "in due out");
}

Test(finalizers, run_in_what_the_library_calls)
{
    cr_assert_str_eq(noted(LIBRARY("interrupt(due) log = log .. 'in ' note 'back'") "library()"),
                     "in due back");
}

Test(finalizers, do_not_slow_long_work_of_the_library_down)
{
    cr_assert_str_eq(noted("jit.off() " LIBRARY(
                         "interrupt(due) for i = 1, 1e4 do log = '' end"
                         " log = select(3, debug.gethook()) .. ' '") "library() for i = 1, 1000 do "
                                                                     "end note 'out'"),
                     "1000 due out");
}

Test(finalizers, run_where_the_loop_goes_on)
{
    cr_assert_str_eq(noted(LIBRARY("interrupt(due)") "return library()"), "");
    finalizers_run(L);
    cr_assert_str_eq(so_far(), "due ");
    cr_assert_null(lua_gethook(L));
}

Test(finalizers, run_in_compiled_code_as_soon_as_it_is_left)
{
    cr_assert_str_eq(noted("local n = 0 for i = 1, 1e5 do n = n + i end"
                           " interrupt(due) for i = 1, 1e5 do n = n + i end note 'end'"),
                     "due end");
}

Test(finalizers, run_at_the_end_where_no_instruction_followed)
{
    lua_getglobal(L, "interrupt");
    lua_getglobal(L, "due");
    cr_assert_eq(lua_pcall(L, 1, 0, 0), 0);
    cr_assert_str_eq(so_far(), "");
    finalizers_close(L);
    cr_assert_str_eq(so_far(), "due ");
}

Test(finalizers, are_told_to_run_at_once_when_all_is_closing)
{
    finalizers_close(L);
    cr_assert_str_eq(noted("note(tostring(interrupt(due)))"), "false");
}

Test(finalizers, give_the_hook_back_that_was_there)
{
    cr_assert_str_eq(noted("local function hook(event) end debug.sethook(hook, 'cr')"
                           " interrupt(due) local now, mask = debug.gethook() debug.sethook()"
                           " note(tostring(now == hook) .. mask .. tostring(debug.gethook()))"),
                     "due truecrnil");
}

Test(finalizers, leave_a_hook_alone_that_counts)
{
    cr_assert_str_eq(noted("local function hook() end debug.sethook(hook, '', 1000)"
                           " local possible = interrupt(due)"
                           " note(tostring(possible) .. tostring(debug.gethook() == hook))"),
                     "falsetrue");
}

Test(finalizers, may_fail_without_harm)
{
    cr_assert_str_eq(noted("interrupt(function() error 'no' end) note 'on'"), "on");
}
