/*
 * What the reactor's tests share. Every test makes a loop of its own, and waits for what must
 * happen by turning it; PATIENCE_MS is how long before that counts as never.
 */
#ifndef LINKS_TESTS_EV_EV_TEST_H
#define LINKS_TESTS_EV_EV_TEST_H

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ev/ev.h"

enum { PATIENCE_MS = 60 * 1000 };

static inline uint64_t test_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void test_spin_ms(int ms)
{
    for (uint64_t end = test_clock_ns() + (uint64_t)ms * 1000000; test_clock_ns() < end;) {
    }
}

static inline ev_loop *test_loop(void)
{
    ev_loop *loop = ev_loop_new();
    cr_assert_not_null(loop);
    return loop;
}

/* One turn that does not sleep. */
static inline void test_turn(ev_loop *loop) { cr_assert_eq(ev_loop_turn(loop, 0), 0); }

/* Turns until `*value` has reached `target`. */
static inline void test_turn_until(ev_loop *loop, const int *value, int target)
{
    uint64_t end = test_clock_ns() + PATIENCE_MS * (uint64_t)1000000;
    while (*value < target && test_clock_ns() < end)
        cr_assert_eq(ev_loop_turn(loop, 1000), 0);
    cr_assert_geq(*value, target, "it came to %d, not to %d", *value, target);
}

/* Turns as long as anything is left to report at once. */
static inline void test_settle(ev_loop *loop)
{
    for (int i = 0; i < 5; i++)
        test_turn(loop);
}

static inline void test_nonblocking(int fd)
{
    cr_assert_eq(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

static inline void test_pair(int fds[2])
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    test_nonblocking(fds[0]);
    test_nonblocking(fds[1]);
}

static inline void test_write(int fd, const char *text)
{
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* Forbids descriptors beyond `n` more than there are now, or lifts that (-1). Returns the number
 * that the next one would have. */
static inline int test_limit_fds(int n)
{
    static struct rlimit former;
    if (former.rlim_cur == 0)
        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &former), 0);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &former), 0);
    int next = dup(0);
    cr_assert_geq(next, 0);
    close(next);
    struct rlimit limit = former;
    if (n >= 0)
        limit.rlim_cur = (rlim_t)(next + n);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return next;
}

#endif
