/*
 * The poll interface itself, whichever backend is in: what poll.h promises beyond what the other
 * tests ask of it through the loop.
 */
#include "ev/poll.h"

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include "ev_test.h"

enum { SOME = 8 };

static ev_poll_event events[SOME];

/* Waits until there is an event for `key` with all of `wanted`. */
static bool wait_for(ev_poll *poll, uint64_t key, int wanted)
{
    int seen = 0;
    for (int tries = 0; tries < 10; tries++) {
        int n = poll_wait(poll, events, SOME, 1000000000);
        cr_assert_geq(n, 0);
        for (int i = 0; i < n; i++) {
            cr_assert_eq(events[i].key, key);
            seen |= events[i].events;
        }
        if ((seen & wanted) == wanted)
            return true;
    }
    return false;
}

Test(poll, reports_a_descriptor_under_its_whole_key)
{
    ev_poll *poll = poll_open();
    int fds[2];
    test_pair(fds);
    uint64_t key = (uint64_t)0xfffffff0 << 32 | (uint32_t)fds[0];
    cr_assert_eq(poll_set(poll, fds[0], key, 1), 0);
    test_write(fds[1], "x");
    cr_assert(wait_for(poll, key, EV_READ | EV_WRITE));
    cr_assert_eq(poll_set(poll, fds[0], key, 0), 0);
    test_write(fds[1], "x");
    cr_assert_eq(poll_wait(poll, events, SOME, 0), 0);
    close(fds[0]);
    close(fds[1]);
    poll_close(poll);
}

Test(poll, fills_no_more_than_there_is_room_for_and_keeps_the_rest)
{
    ev_poll *poll = poll_open();
    int fds[SOME][2], seen = 0;
    for (int i = 0; i < SOME; i++) {
        test_pair(fds[i]);
        cr_assert_eq(poll_set(poll, fds[i][0], (uint64_t)fds[i][0], 1), 0);
    }
    for (int n; (n = poll_wait(poll, events, 3, 0)) > 0;) {
        cr_assert_leq(n, 3);
        seen += n;
    }
    cr_assert_eq(seen, SOME); /* room to write, each */
    for (int i = 0; i < SOME; i++) {
        close(fds[i][0]);
        close(fds[i][1]);
    }
    poll_close(poll);
}

Test(poll, does_not_come_back_before_its_time)
{
    ev_poll *poll = poll_open();
    static const int64_t timeouts_ns[] = {0, 1, 999999, 1000001, 12345678};
    for (int i = 0; i < 5; i++) {
        uint64_t began = test_clock_ns();
        cr_assert_eq(poll_wait(poll, events, SOME, timeouts_ns[i]), 0);
        cr_assert_geq((int64_t)(test_clock_ns() - began), timeouts_ns[i]);
    }
    poll_close(poll);
}

static void on_alarm(int signum) { (void)signum; }

Test(poll, says_nothing_when_it_is_interrupted)
{
    ev_poll *poll = poll_open();
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval often = {{0, 5000}, {0, 5000}}; /* again and again, lest one comes too soon */
    setitimer(ITIMER_REAL, &often, NULL);
    cr_assert_eq(poll_wait(poll, events, SOME, -1), 0);
    cr_assert_eq(poll_wait(poll, events, SOME, (int64_t)1 << 60), 0);
    setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
    poll_close(poll);
}

static void *wake(void *poll)
{
    poll_wake(poll);
    return NULL;
}

Test(poll, is_woken_by_another_thread_and_is_asleep_again_after_that)
{
    ev_poll *poll = poll_open();
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, wake, poll), 0);
    cr_assert_eq(poll_wait(poll, events, SOME, -1), 0);
    pthread_join(thread, NULL);
    uint64_t began = test_clock_ns();
    cr_assert_eq(poll_wait(poll, events, SOME, 5000000), 0);
    cr_assert_geq(test_clock_ns() - began, 5000000u);
    poll_close(poll);
}

/* A pipe would be full long before. */
Test(poll, can_be_woken_any_number_of_times_before_it_waits)
{
    ev_poll *poll = poll_open();
    for (int i = 0; i < 100000; i++)
        poll_wake(poll);
    cr_assert_eq(poll_wait(poll, events, SOME, -1), 0);
    uint64_t began = test_clock_ns();
    int waits = 0;
    while (test_clock_ns() - began < 5000000u) {
        cr_assert_eq(poll_wait(poll, events, SOME, 5000000), 0);
        cr_assert_leq(++waits, 2, "it was not drained");
    }
    poll_wake(poll);
    cr_assert_eq(poll_wait(poll, events, SOME, -1), 0);
    poll_close(poll);
}

Test(poll, keeps_errno_in_a_wake_up)
{
    ev_poll *poll = poll_open();
    errno = EDOM;
    for (int i = 0; i < 100000; i++)
        poll_wake(poll);
    cr_assert_eq(errno, EDOM);
    poll_close(poll);
}

Test(poll, refuses_what_it_cannot_watch)
{
    ev_poll *poll = poll_open();
    cr_assert_eq(poll_set(poll, 9999, 9999, 1), -EBADF);
    int fds[2];
    test_pair(fds);
    cr_assert_lt(poll_set(poll, fds[0], 0, 0), 0, "it was not watched");
    close(fds[0]);
    close(fds[1]);
    poll_close(poll);
}

Test(poll, is_closed_on_exec)
{
    enum { HIGHEST = 64 };
    bool before[HIGHEST];
    int own = 0;
    for (int fd = 0; fd < HIGHEST; fd++)
        before[fd] = fcntl(fd, F_GETFD) >= 0;
    ev_poll *poll = poll_open();
    for (int fd = 0; fd < HIGHEST; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (before[fd] || flags < 0)
            continue;
        own++;
        cr_assert(flags & FD_CLOEXEC, "descriptor %d is inherited", fd);
    }
    cr_assert_geq(own, 2);
    poll_close(poll);
}
