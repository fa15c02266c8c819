/*
 * The watchdog: tells where a task is that has held the loop for too long, while it does.
 *
 * A thread looks now and then whether the same task still runs. If it does, it sends the loop's
 * thread a signal, which leads to a hook before the next instruction, out of compiled code too
 * (profile.h). There the traceback is taken, and told; and where the program wants it, an error is
 * raised in the task, or the process ended, in which case the thread does not wait for ever for the
 * task to come to such a place. While nothing happens the thread sleeps.
 */
#ifndef LINKS_LUA_WATCHDOG_H
#define LINKS_LUA_WATCHDOG_H

#include <lua.h>
#include <stdint.h>

extern struct watchdog_sight {
    uint32_t serial; /* atomic: odd while a task runs */
    uint32_t asleep; /* atomic: the thread is to be woken when one does */
} watchdog_sight;

/* See watchdog_enter. */
void watchdog_wake(void);

/* A task begins to run, on the loop's thread. */
static inline void watchdog_enter(void)
{
    __atomic_store_n(&watchdog_sight.serial, watchdog_sight.serial + 1, __ATOMIC_RELAXED);
    if (__builtin_expect(__atomic_load_n(&watchdog_sight.asleep, __ATOMIC_RELAXED) != 0, 0))
        watchdog_wake();
}

/* It lets go. */
static inline void watchdog_leave(void)
{
    __atomic_store_n(&watchdog_sight.serial, watchdog_sight.serial + 1, __ATOMIC_RELAXED);
}

/* Adds watchdog(tell ms, abort ms, kill ms[, fn]) to the table on top of the stack. */
void watchdog_add(lua_State *L);

/* Before lua_close. */
void watchdog_close(lua_State *L);

#endif
