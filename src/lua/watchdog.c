#define _GNU_SOURCE /* close_range */
#include "lua/watchdog.h"

#include <errno.h>
#include <lauxlib.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lua/finalizers.h"
#include "lua/profile.h"
#include "lua/task.h"

enum {
    PERIOD_MIN_MS = 5,
    PERIOD_MAX_MS = 500,
    IDLE_PERIODS = 20, /* without a task that runs: then the thread sleeps */
    SETTLE_MS = 2,     /* by then a store of another processor's is seen */
    AGAIN = 10,        /* a hold that goes on is told of again after so many times as long */
    STOPPED_MS = 1000, /* the thread did not run for so long: neither did the loop */
    GRACE_MS = 1000,   /* for the task to come to where it can be told of, before the end */
    STACK_SIZE = 65536,
};

/* What is due, and what the Lua side is told that it is. */
enum { TELL = 1, ABORT = 2, KILL = 4 };

#define TOLD "links.watchdog"

struct watchdog_sight watchdog_sight;

static struct {
    lua_State *L;
    pthread_t loop, thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool runs, stop;
    int tell_ms, abort_ms, kill_ms; /* 0: never */
    uint32_t struck;                /* atomic: the serial of the hold that something is due of */
    uint32_t due;                   /* atomic: and what */
    uint32_t answered;              /* atomic: that of the one that has been told of */
    uint32_t raised;                /* the loop's: that of the one an error was raised in */
    double raised_ms;               /* and how long it had been held by then */
} dog = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* As the thread sees it. */
typedef struct hold {
    uint32_t serial;
    int64_t since, tell_at, abort_at, signal_at;
} hold;

static uint32_t load(const uint32_t *n) { return __atomic_load_n(n, __ATOMIC_ACQUIRE); }

static void store(uint32_t *n, uint32_t value) { __atomic_store_n(n, value, __ATOMIC_RELEASE); }

/* --- the thread ------------------------------------------------------------------------------- */

static int64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* With the lock, which is free meanwhile. */
static void sleep_ms(int ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&dog.changed, &dog.lock, &until);
}

/* Until a task runs. The one that has begun just before may not have seen that it is to wake us, so
 * we look once more. */
static void doze(uint32_t seen)
{
    store(&watchdog_sight.asleep, 1);
    sleep_ms(SETTLE_MS);
    if (load(&watchdog_sight.serial) != seen)
        store(&watchdog_sight.asleep, 0);
    while (!dog.stop && load(&watchdog_sight.asleep))
        pthread_cond_wait(&dog.changed, &dog.lock);
}

static void strike(uint32_t serial, uint32_t what)
{
    if (!profile_is_on())
        return;
    store(&dog.due, what);
    store(&dog.struck, serial);
    pthread_kill(dog.loop, SIGPROF);
}

/* What the process has as its errors may be a pipe that nobody reads. */
static void say_last(const char *text, int len)
{
    struct pollfd to = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&to, 1, 0) == 1 && (to.revents & POLLOUT))
        len = (int)write(to.fd, text, (size_t)len);
}

/* The task has not come to where it could be asked. SIGABRT leaves a core dump, where those are
 * wanted, that shows the call of C; and its handler writes out what has been logged. */
static void kill_from_outside(uint32_t serial, int64_t held)
{
    static bool said;
    char text[160];
    if (held >= dog.kill_ms + 3 * GRACE_MS)
        kill(getpid(), SIGKILL);
    if (said)
        return;
    said = true;
    task *t = sched_current();
    uint32_t id = t && load(&watchdog_sight.serial) == serial ? t->id : 0;
    say_last(text, snprintf(text, sizeof(text),
                            "links: task %u has held the loop for %lld ms, and cannot be asked "
                            "where it is: the process ends\n",
                            id, (long long)held));
    pthread_kill(dog.loop, SIGABRT);
}

/* What is due of a task that still runs. A signal may disturb a system call that it is within, so
 * they come further and further apart. */
static void look_at(hold *h, int64_t now)
{
    int64_t held = now - h->since;
    uint32_t what = 0;
    if (load(&dog.answered) == h->serial) {
        h->tell_at = held * AGAIN;
        store(&dog.answered, 0);
    }
    if (dog.tell_ms && held >= h->tell_at)
        what |= TELL;
    if (dog.abort_ms && held >= h->abort_at)
        what |= ABORT;
    if (dog.kill_ms && held >= dog.kill_ms) {
        what |= KILL;
        if (held >= dog.kill_ms + GRACE_MS)
            kill_from_outside(h->serial, held);
    } else if (held < h->signal_at) {
        return;
    }
    if (!what)
        return;
    h->signal_at = held * 2;
    if (what & ABORT)
        h->abort_at = held + dog.abort_ms;
    strike(h->serial, what);
}

/* It looks twice in the shortest of the limits. */
static int period_of(void)
{
    int limits[] = {dog.tell_ms, dog.abort_ms, dog.kill_ms}, least = 2 * PERIOD_MAX_MS;
    for (int i = 0; i < 3; i++)
        if (limits[i] && limits[i] < least)
            least = limits[i];
    return least / 2 > PERIOD_MIN_MS ? least / 2 : PERIOD_MIN_MS;
}

/* While two threads share a table of descriptors, each system call on one of them takes and drops a
 * reference by locked instructions. So the thread gets a table of its own, with what say_last
 * needs. */
static void leave_descriptors(void)
{
#ifdef CLOSE_RANGE_UNSHARE
    if (close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_UNSHARE) == 0) {
        close(STDIN_FILENO);
        close(STDOUT_FILENO);
    }
#endif
}

static void *watch(void *arg)
{
    hold h = {0};
    int64_t looked = clock_ms();
    int idle = 0;
    (void)arg;
    leave_descriptors();
    pthread_mutex_lock(&dog.lock);
    int period = period_of();
    while (!dog.stop) {
        uint32_t serial = load(&watchdog_sight.serial);
        int64_t now = clock_ms();
        if (now - looked >= period + STOPPED_MS)
            h.since += now - looked;
        looked = now;
        if (serial != h.serial) {
            h = (hold){
                .serial = serial, .since = now, .tell_at = dog.tell_ms, .abort_at = dog.abort_ms};
            idle = 0;
        } else if (serial & 1) {
            look_at(&h, now);
        } else if (++idle >= IDLE_PERIODS) {
            idle = 0;
            doze(serial);
            looked = clock_ms();
            continue;
        }
        sleep_ms(period);
    }
    pthread_mutex_unlock(&dog.lock);
    return NULL;
}

void watchdog_wake(void)
{
    pthread_mutex_lock(&dog.lock);
    store(&watchdog_sight.asleep, 0);
    pthread_cond_signal(&dog.changed);
    pthread_mutex_unlock(&dog.lock);
}

static int start(void)
{
    pthread_attr_t attributes;
    sigset_t all, former;
    dog.stop = false;
    dog.loop = pthread_self();
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_SIZE);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    int rc = pthread_create(&dog.thread, &attributes, watch, NULL);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    pthread_attr_destroy(&attributes);
    dog.runs = rc == 0;
    return -rc;
}

static void stop(void)
{
    if (!dog.runs)
        return;
    pthread_mutex_lock(&dog.lock);
    dog.stop = true;
    pthread_cond_signal(&dog.changed);
    pthread_mutex_unlock(&dog.lock);
    pthread_join(dog.thread, NULL);
    dog.runs = false;
    store(&watchdog_sight.asleep, 0);
}

/* --- the loop's thread ------------------------------------------------------------------------ */

static void on_signal(void)
{
    if (load(&dog.struck))
        finalizers_strike(dog.L);
}

/* What tells of it may be what is being told: a log line that is half made. It is tried again. */
static bool is_telling(lua_State *L)
{
    lua_Debug ar;
    for (int level = 0; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "S", &ar);
        if (strncmp(ar.source, "=links/log", 10) == 0 ||
            strcmp(ar.source, "=links/report.lua") == 0)
            return true;
    }
    return false;
}

/* In code of links: an error raised there would leave undone what it has begun. */
static bool is_ours(lua_State *L)
{
    lua_Debug ar;
    return lua_getstack(L, 0, &ar) && lua_getinfo(L, "S", &ar) &&
           strncmp(ar.source, "=links/", 7) == 0;
}

/* No task runs while it is told, so nothing can wait. */
static void tell(lua_State *L, task *t, const char *end)
{
    int top = lua_gettop(L);
    lua_getfield(L, LUA_REGISTRYINDEX, TOLD);
    sched_push(L, t);
    lua_pushnumber(L, sched_held_ms());
    luaL_traceback(L, L, NULL, 0);
    if (t->L != L)
        luaL_traceback(L, t->L, NULL, 0);
    else
        lua_pushnil(L);
    lua_pushstring(L, end);
    sched_swap_current(NULL);
    if (lua_pcall(L, 5, 0, 0))
        lua_pop(L, 1); /* the Lua side reports errors, and there is nobody else */
    sched_swap_current(t);
    lua_settop(L, top);
}

/* The thread may strike once more while the error that it has struck for before is being raised:
 * the task has not had its time again then. Looks are not punctual, so most of that time will
 * do. */
static bool is_too_soon(uint32_t serial)
{
    return dog.raised == serial && sched_held_ms() < dog.raised_ms + dog.abort_ms * 0.75;
}

/* A hook: before any instruction of a task. */
static void on_hold(lua_State *L)
{
    uint32_t serial = dog.struck, due = dog.due;
    task *t = sched_current();
    if ((due & ABORT) && is_too_soon(serial))
        due &= ~(uint32_t)ABORT;
    if (!t || serial != watchdog_sight.serial || is_telling(L) || !lua_checkstack(L, 8)) {
        store(&dog.struck, 0);
        return;
    }
    bool wait = (due & ABORT) && is_ours(L);
    if (due & KILL) {
        tell(L, t, "kill");
        abort();
    }
    if ((due & TELL) && !((due & ABORT) && !wait)) {
        store(&dog.answered, serial);
        tell(L, t, NULL);
    }
    if (wait) {
        store(&dog.due, ABORT);
        finalizers_strike(L); /* before the next instruction, then */
        return;
    }
    store(&dog.struck, 0);
    if (due & ABORT) {
        store(&dog.answered, serial);
        tell(L, t, "abort");
        dog.raised = serial;
        dog.raised_ms = sched_held_ms();
        luaL_where(L, 0);
        lua_pushfstring(L, "the task has held the loop for %d ms", (int)sched_held_ms());
        lua_concat(L, 2);
        lua_error(L);
    }
}

/* --- for Lua ---------------------------------------------------------------------------------- */

static void turn_off(lua_State *L)
{
    if (!dog.runs)
        return;
    stop();
    profile_want(L, false);
}

/* watchdog(tell_ms, abort_ms, kill_ms, fn) -> 0 or -errno: calls fn(task, ms, traceback, traceback
 * of the task that runs that coroutine, "abort", "kill" or nil) when a task has held the loop for
 * so long. Times of 0: never. */
static int core_watchdog(lua_State *L)
{
    int tell_ms = (int)luaL_checkinteger(L, 1), abort_ms = (int)luaL_checkinteger(L, 2);
    int kill_ms = (int)luaL_checkinteger(L, 3), rc = 0;
    turn_off(L);
    if (tell_ms || abort_ms || kill_ms) {
        luaL_checktype(L, 4, LUA_TFUNCTION);
        lua_pushvalue(L, 4);
        lua_setfield(L, LUA_REGISTRYINDEX, TOLD);
        dog.L = sched_vm();
        dog.tell_ms = tell_ms;
        dog.abort_ms = abort_ms;
        dog.kill_ms = kill_ms;
        profile_on_signal(on_signal);
        finalizers_on_strike(on_hold);
        profile_want(L, true);
        rc = start();
        if (rc < 0)
            profile_want(L, false);
    }
    lua_pushinteger(L, rc);
    return 1;
}

void watchdog_add(lua_State *L)
{
    lua_pushcfunction(L, core_watchdog);
    lua_setfield(L, -2, "watchdog");
}

void watchdog_close(lua_State *L) { turn_off(L); }
