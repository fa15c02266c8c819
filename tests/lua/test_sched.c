/*
 * The scheduler as C modules use it: parking on their own queues, waking, deadlines, cancels. Lua
 * code parks by park(), which stands for an FFI function, and waits as lib/links does.
 */
#include "lua/sched.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <lauxlib.h>
#include <string.h>

#include "lua/task.h"
#include "lua/vm.h"

static ev_loop *loop;
static lua_State *L;
static waitq queue;
static char noted[4096];

/* --- what Lua code calls ------------------------------------------------------------------- */

/* park(ms, io) -> rc: on `queue` */
static int test_park(lua_State *S)
{
    int64_t ms = (int64_t)luaL_optnumber(S, 1, 0);
    lua_pushinteger(S, sched_park(&queue, ms, lua_toboolean(S, 2) ? SCHED_IO : 0, "test"));
    return 1;
}

/* wakeOne(status), wakeAll(status) */
static int test_wake_one(lua_State *S)
{
    lua_pushboolean(S, waitq_wake_one(&queue, (int)luaL_optinteger(S, 1, 0)));
    return 1;
}

static int test_wake_all(lua_State *S)
{
    lua_pushboolean(S, waitq_wake_all(&queue, (int)luaL_optinteger(S, 1, 0)));
    return 1;
}

static int test_note(lua_State *S)
{
    strncat(noted, luaL_checkstring(S, 1), sizeof(noted) - strlen(noted) - 2);
    strcat(noted, " ");
    return 0;
}

/* --- fixture ------------------------------------------------------------------------------- */

static void open_all(void)
{
    loop = ev_loop_new();
    cr_assert_not_null(loop);
    cr_assert_eq(vm_open(loop), 0);
    L = sched_vm();
    waitq_init(&queue);
    noted[0] = '\0';
    lua_register(L, "park", test_park);
    lua_register(L, "wakeOne", test_wake_one);
    lua_register(L, "wakeAll", test_wake_all);
    lua_register(L, "note", test_note);
    lua_pushinteger(L, -ECANCELED);
    lua_setglobal(L, "EC");
    lua_pushinteger(L, -ETIMEDOUT);
    lua_setglobal(L, "ET");
    cr_assert_eq(luaL_dostring(L,
                               "core = require 'links.core' wait = core.wait"
                               " names = { [0] = 'woken', [EC] = 'canceled',"
                               " [ET] = 'timeout', [-20016] = 'deadline' }"),
                 0);
}

static void close_all(void)
{
    vm_close();
    ev_loop_free(loop);
}

/* Spawns a task of this code. It stays valid as a global of the name, for as long as the VM. */
static task *spawn(const char *code)
{
    cr_assert_eq(luaL_loadstring(L, code), 0, "%s", lua_tostring(L, -1));
    task *t = sched_spawn(L, 0);
    luaL_ref(L, LUA_REGISTRYINDEX);
    return t;
}

static void turns(int n)
{
    while (n-- > 0)
        ev_loop_turn(loop, 0);
}

TestSuite(sched, .init = open_all, .fini = close_all, .timeout = 120);

/* --- life ---------------------------------------------------------------------------------- */

Test(sched, runs_tasks_in_the_order_of_their_spawns)
{
    spawn("note 'a'");
    spawn("note 'b'");
    cr_assert_str_eq(noted, "");
    turns(1);
    cr_assert_str_eq(noted, "a b ");
    cr_assert_eq(sched_stats_now()->live, 0);
}

Test(sched, has_no_current_task_outside_its_run_step)
{
    cr_assert_null(sched_current());
    cr_assert_eq(sched_park(&queue, 0, 0, "test"), LINKS_REFUSED);
    cr_assert(waitq_empty(&queue));
}

Test(sched, uses_a_coroutine_again_once_its_task_is_over)
{
    spawn("return");
    turns(1);
    cr_assert_eq(sched_stats_now()->pooled, 1);
    for (int i = 0; i < 100; i++) {
        spawn("return 1, 2");
        turns(1);
    }
    cr_assert_eq(sched_stats_now()->pooled, 1);
    cr_assert_eq(sched_stats_now()->spawned, 101);
}

Test(sched, drops_the_coroutine_of_a_task_that_failed)
{
    for (int i = 0; i < 10; i++)
        spawn("error 'x'")->owned = true;
    turns(1);
    cr_assert_eq(sched_stats_now()->failed, 10);
    cr_assert_eq(sched_stats_now()->pooled, 0);
    spawn("note 'fine'");
    turns(1);
    cr_assert_str_eq(noted, "fine ");
}

Test(sched, fails_a_task_that_yields_what_is_not_a_wait)
{
    task *stray = spawn("coroutine.yield(1)");
    task *forged = spawn("coroutine.yield(core.WAIT)");
    stray->owned = forged->owned = true;
    turns(1);
    cr_assert_eq(stray->state, TASK_FAILED);
    cr_assert_eq(forged->state, TASK_FAILED);
}

Test(sched, looks_at_the_system_after_a_budget_of_resumes)
{
    spawn("for i = 1, 300 do core.spawn(function() note('x') end) end");
    turns(1);
    size_t first = strlen(noted) / 2;
    cr_assert_gt(first, 0);
    cr_assert_lt(first, 300);
    turns(3);
    cr_assert_eq(strlen(noted) / 2, 300);
}

/* --- parking and waking -------------------------------------------------------------------- */

Test(sched, wakes_the_longest_waiting_first)
{
    spawn("park() note('a' .. wait())");
    spawn("park() note('b' .. wait())");
    spawn("park() note('c' .. wait())");
    turns(1);
    cr_assert(waitq_wake_one(&queue, 1));
    turns(1);
    cr_assert_str_eq(noted, "a1 ");
    cr_assert(waitq_wake_all(&queue, 2));
    turns(1);
    cr_assert_str_eq(noted, "a1 b2 c2 ");
    cr_assert_not(waitq_wake_one(&queue, 0));
    cr_assert_not(waitq_wake_all(&queue, 0));
}

Test(sched, keeps_the_first_of_two_wakes)
{
    task *t = spawn("park() note(tostring(wait()))");
    turns(1);
    sched_wake(t, 5);
    sched_wake(t, 6);
    sched_cancel(t);
    turns(1);
    cr_assert_str_eq(noted, "5 ");
}

Test(sched, ends_a_wait_at_its_timeout_and_takes_it_off_its_queue)
{
    spawn("park(2) note(names[wait()])");
    turns(1);
    cr_assert_not(waitq_empty(&queue));
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_str_eq(noted, "timeout ");
    cr_assert(waitq_empty(&queue));
    cr_assert_eq(ev_refs(loop), 0);
}

Test(sched, disarms_the_timeout_of_a_wait_that_was_woken)
{
    spawn("park(100000) note(names[wait()])");
    turns(1);
    cr_assert_eq(ev_loop_stats(loop)->timers, 1);
    waitq_wake_one(&queue, 0);
    turns(1);
    cr_assert_str_eq(noted, "woken ");
    cr_assert_eq(ev_loop_stats(loop)->timers, 0);
    cr_assert_eq(ev_refs(loop), 0);
}

Test(sched, ends_a_wait_at_the_nearer_of_timeout_and_deadline)
{
    spawn(
        "core.deadlinePush(200) park(1) note(names[wait()]) park(100000) note(names[wait()])"
        " park() note(names[wait()])");
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_str_eq(noted, "timeout deadline deadline ");
}

Test(sched, tells_a_task_that_only_yields_of_its_deadline_and_of_its_cancel)
{
    spawn(
        "local d, c, s = core.deadlinePush(20) local status repeat status = core.yield()"
        " until status ~= 0 note(names[status]) note(tostring(core.deadlinePop(d, c, s)))");
    task *t = spawn(
        "local status repeat status = core.yield() until status ~= 0"
        " note(names[status])");
    int64_t end = ev_now_ms(loop) + 10000;
    while (!strstr(noted, "true") && ev_now_ms(loop) < end)
        turns(1);
    cr_assert_str_eq(noted, "deadline true ");
    sched_cancel(t);
    turns(2);
    cr_assert_str_eq(noted, "deadline true canceled ");
}

Test(sched, cancels_a_parked_task_and_refuses_its_later_waits)
{
    task *t = spawn("for i = 1, 3 do park() note(names[wait()]) end");
    turns(1);
    sched_cancel(t);
    sched_cancel(t);
    turns(1);
    cr_assert_str_eq(noted, "canceled ");
    turns(2);
    cr_assert_str_eq(noted, "canceled canceled canceled ");
    cr_assert_eq(t->state, TASK_DONE);
    sched_cancel(t);
    cr_assert(waitq_empty(&queue));
}

Test(sched, never_runs_a_task_that_was_cancelled_before_it_began)
{
    task *t = spawn("note 'ran'");
    sched_cancel(t);
    turns(1);
    cr_assert_str_eq(noted, "");
    cr_assert_eq(t->state, TASK_FAILED);
}

Test(sched, lets_no_cancel_and_no_deadline_into_a_shield)
{
    task *t = spawn(
        "core.deadlinePush(0) local d, s = core.shieldPush()"
        " park() note(names[wait()]) core.shieldPop(d, s) park() note(names[wait()])");
    turns(1);
    sched_cancel(t);
    turns(2);
    cr_assert_str_eq(noted, "");
    waitq_wake_one(&queue, 0);
    turns(3);
    cr_assert_str_eq(noted, "woken canceled ");
}

Test(sched, undoes_a_park_that_no_yield_followed)
{
    spawn(
        "pcall(function() park() error 'between' end) note 'on'"
        " park(1) note(names[wait()])");
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_str_eq(noted, "on timeout ");
    spawn("park() error 'and then it ends'")->owned = true;
    turns(1);
    cr_assert(waitq_empty(&queue));
    cr_assert_eq(ev_refs(loop), 0);
}

Test(sched, refuses_a_wait_below_a_c_function_and_takes_it_off_the_queue)
{
    spawn("table.sort({ 2, 1 }, function() park() note(tostring(wait())) end)");
    turns(1);
    cr_assert_str_eq(noted, "-20017 ");
    cr_assert(waitq_empty(&queue));
}

Test(sched, keeps_the_process_alive_only_for_what_can_still_happen)
{
    spawn("park() wait() note 'never'");
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_str_eq(noted, "");
    spawn("park(nil, true) wait() note 'io'");
    turns(1);
    cr_assert_eq(ev_refs(loop), 1);
    waitq_wake_all(&queue, 0);
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_eq(ev_refs(loop), 0);
}

Test(sched, hands_a_value_over_that_no_cancel_can_lose)
{
    task *t = spawn("q = core.queue() note(select(2, core.park(q, nil, 'x')))");
    turns(1);
    spawn("core.wakeOne(q, 'value')");
    turns(1);
    sched_cancel(t);
    turns(2);
    cr_assert_str_eq(noted, "value ");
}

Test(sched, takes_the_offer_of_the_longest_waiting)
{
    spawn("q = core.queue() note(names[core.park(q, nil, 'x', 'offer')])");
    turns(1);
    spawn("note(select(2, core.first(q))) note(core.take(q)) note(tostring((core.take(q))))");
    turns(2);
    cr_assert_str_eq(noted, "offer offer nil woken ");
}

Test(sched, forgets_who_waits_on_a_queue_that_was_collected)
{
    task *t = spawn("core.park(core.queue(), nil, 'x') note 'ended'");
    turns(1);
    lua_gc(L, LUA_GCCOLLECT, 0);
    lua_gc(L, LUA_GCCOLLECT, 0);
    sched_cancel(t);
    turns(1);
    cr_assert_str_eq(noted, "ended ");
}

Test(sched, tells_which_code_held_the_loop_for_longest)
{
    spawn("local t = os.clock() + 0.02 while os.clock() < t do end park(1) wait()");
    turns(1);
    cr_assert_gt(sched_stats_now()->longest_ms, 5);
    cr_assert(strstr(sched_stats_now()->longest, ":1"), "%s", sched_stats_now()->longest);
    sched_stats_reset();
    cr_assert_eq(sched_stats_now()->longest_ms, 0);
    cr_assert_eq(ev_loop_run(loop), 0);
}

/* --- closing ------------------------------------------------------------------------------- */

static void count(task *t, void *arg)
{
    (void)t;
    (*(int *)arg)++;
}

Test(sched, closes_with_tasks_parked_ready_and_asleep)
{
    for (int i = 0; i < 50; i++) {
        spawn("park() wait()");
        spawn("park(100000) wait()");
        spawn("core.yield() core.yield() core.yield()");
    }
    turns(1);
    spawn("note 'not begun'");
    int n = 0;
    sched_each(count, &n);
    cr_assert_eq(n, 151);
}

Test(sched, cancels_all_tasks_for_the_end_and_lets_them_clean_up)
{
    spawn("park() note(names[wait()]) core.spawn(function() note 'cleaned' end)");
    turns(1);
    cr_assert_eq(vm_cancel_all(), 1);
    turns(1);
    vm_cancel_all();
    turns(2);
    cr_assert_str_eq(noted, "canceled cleaned ");
    cr_assert_eq(vm_cancel_all(), 0);
}

Test(vm, opens_again_in_the_same_process_after_a_close)
{
    for (int i = 0; i < 3; i++) {
        open_all();
        spawn("park(1) note(names[wait()])");
        spawn("park() wait()");
        cr_assert_eq(ev_loop_run(loop), 0);
        cr_assert_str_eq(noted, "timeout ");
        close_all();
    }
}
