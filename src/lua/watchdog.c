#include "lua/watchdog.h"

#include <errno.h>
#include <lauxlib.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "lua/finalizers.h"
#include "lua/profile.h"
#include "lua/task.h"

enum {
    PERIOD_MIN_MS = 5,
    IDLE_PERIODS = 20, /* without a task that runs: then the thread sleeps */
    SETTLE_MS = 2,     /* by then a store of another processor's is seen */
    AGAIN = 10,        /* a hold that goes on is told of again after so many times as long */
    STACK_SIZE = 65536,
};

#define TOLD "links.watchdog"

struct watchdog_sight watchdog_sight;

static struct {
    lua_State *L;
    pthread_t loop, thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool runs, stop;
    int limit_ms;      /* 0: off */
    uint32_t struck;   /* atomic: the serial of the hold that is to be told of */
    uint32_t answered; /* atomic: that of the one that has been */
} dog = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static uint32_t load(const uint32_t *n) { return __atomic_load_n(n, __ATOMIC_ACQUIRE); }

static void store(uint32_t *n, uint32_t value) { __atomic_store_n(n, value, __ATOMIC_RELEASE); }

/* --- the thread --------------------------------------------------------------------------------- */

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

static void strike(uint32_t serial)
{
    if (!profile_is_on())
        return;
    store(&dog.struck, serial);
    pthread_kill(dog.loop, SIGPROF);
}

static void *watch(void *arg)
{
    uint32_t seen = 0;
    int64_t since = 0, due = 0;
    int idle = 0;
    (void)arg;
    pthread_mutex_lock(&dog.lock);
    while (!dog.stop) {
        uint32_t serial = load(&watchdog_sight.serial);
        int64_t now = clock_ms();
        if (serial != seen) {
            seen = serial;
            since = now;
            due = dog.limit_ms;
            idle = 0;
        } else if (!(serial & 1) && ++idle >= IDLE_PERIODS) {
            idle = 0;
            doze(serial);
            continue;
        } else if ((serial & 1) && load(&dog.answered) == serial) {
            due = (now - since) * AGAIN;
            store(&dog.answered, 0);
        } else if ((serial & 1) && now - since >= due) {
            strike(serial);
            /* It may be within a system call, which signals would disturb. */
            due = (now - since) * 2;
        }
        int period = dog.limit_ms / 2;
        sleep_ms(period > PERIOD_MIN_MS ? period : PERIOD_MIN_MS);
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

/* --- the loop's thread -------------------------------------------------------------------------- */

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

/* A hook: before any instruction of a task. No task runs while it is told, so nothing can wait. */
static void on_hold(lua_State *L)
{
    uint32_t serial = dog.struck;
    store(&dog.struck, 0);
    task *t = sched_current();
    if (!t || serial != watchdog_sight.serial || is_telling(L) || !lua_checkstack(L, 8))
        return;
    store(&dog.answered, serial);
    int top = lua_gettop(L);
    lua_getfield(L, LUA_REGISTRYINDEX, TOLD);
    sched_push(L, t);
    lua_pushnumber(L, sched_held_ms());
    luaL_traceback(L, L, NULL, 0);
    if (t->L != L)
        luaL_traceback(L, t->L, NULL, 0);
    else
        lua_pushnil(L);
    sched_swap_current(NULL);
    if (lua_pcall(L, 4, 0, 0))
        lua_pop(L, 1); /* the Lua side reports errors, and there is nobody else */
    sched_swap_current(t);
    lua_settop(L, top);
}

/* --- for Lua ------------------------------------------------------------------------------------ */

static void turn_off(lua_State *L)
{
    if (!dog.limit_ms)
        return;
    stop();
    dog.limit_ms = 0;
    profile_want(L, false);
}

/* watchdog(ms[, fn]) -> 0 or -errno: calls fn(task, ms, traceback, traceback of the task that runs
 * that coroutine) when a task has held the loop for so long; 0: no more. */
static int core_watchdog(lua_State *L)
{
    int ms = (int)luaL_checkinteger(L, 1);
    int rc = 0;
    turn_off(L);
    if (ms > 0) {
        luaL_checktype(L, 2, LUA_TFUNCTION);
        lua_pushvalue(L, 2);
        lua_setfield(L, LUA_REGISTRYINDEX, TOLD);
        dog.L = sched_vm();
        profile_on_signal(on_signal);
        finalizers_on_strike(on_hold);
        profile_want(L, true);
        dog.limit_ms = ms;
        rc = start();
        if (rc < 0)
            turn_off(L);
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
