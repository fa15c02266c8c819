/*
 * The poll interface on Linux: epoll(7), edge-triggered, and an eventfd that wakes it.
 */
#include "poll.h"

#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/syscall.h"
#include "ev/ev.h"

enum { NS_PER_MS = 1000 * 1000, NS_PER_S = 1000 * NS_PER_MS, BATCH = 256 };

#define WAKE_KEY UINT64_MAX /* no descriptor is this large */

struct ev_poll {
    int epfd;
    int wakefd;
    int coarse; /* the kernel has no epoll_pwait2: it sleeps whole milliseconds */
    struct epoll_event batch[BATCH];
};

ev_poll *poll_open(void)
{
    int epfd = epoll_create1(EPOLL_CLOEXEC);
    if (epfd < 0)
        return NULL;
    int wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wakefd < 0)
        goto fail_epoll;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = WAKE_KEY};
    if (epoll_ctl(epfd, EPOLL_CTL_ADD, wakefd, &event) < 0)
        goto fail_wake;
    ev_poll *poll = mem_new(ev_poll);
    poll->epfd = epfd;
    poll->wakefd = wakefd;
    return poll;

    int error;
fail_wake:
    error = errno;
    close(wakefd);
    errno = error;
fail_epoll:
    error = errno;
    close(epfd);
    errno = error;
    return NULL;
}

void poll_close(ev_poll *poll)
{
    close(poll->wakefd);
    close(poll->epfd);
    mem_free(poll);
}

int poll_set(ev_poll *poll, int fd, uint64_t key, int on)
{
    struct epoll_event event = {.data.u64 = key};
    if (!on)
        return epoll_ctl(poll->epfd, EPOLL_CTL_DEL, fd, &event) < 0 ? -errno : 0;
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    if (epoll_ctl(poll->epfd, EPOLL_CTL_ADD, fd, &event) == 0)
        return 0;
    if (errno != EEXIST)
        return -errno;
    /* The file was watched under this number, closed while a duplicate kept it open, and has come
     * back by dup2. Changing the registration also reports again what is ready. */
    return epoll_ctl(poll->epfd, EPOLL_CTL_MOD, fd, &event) < 0 ? -errno : 0;
}

int poll_mute(ev_poll *poll, int fd, uint64_t key, int on)
{
    struct epoll_event event = {.data.u64 = key, .events = EPOLLOUT | EPOLLET};
    if (!on)
        event.events |= EPOLLIN | EPOLLRDHUP;
    return epoll_ctl(poll->epfd, EPOLL_CTL_MOD, fd, &event) < 0 ? -errno : 0;
}

void poll_wake(ev_poll *poll)
{
    int error = errno;
    /* It fails only where the counter is full, and then it is readable anyway. */
    ssize_t n = write(poll->wakefd, &(uint64_t){1}, sizeof(uint64_t));
    (void)n;
    errno = error;
}

/* --- waiting --------------------------------------------------------------------------------- */

/* Rounded up: to wake before the deadline would be to wake twice. */
static int whole_ms(int64_t ns)
{
    if (ns < 0)
        return -1;
    int64_t ms = ns / NS_PER_MS + (ns % NS_PER_MS != 0);
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

/* -errno where it fails, as wait_fine. */
#ifdef SYS_epoll_wait
static int wait_coarse(ev_poll *poll, int max, int64_t timeout_ns)
{
    return (int)system_call(SYS_epoll_wait, poll->epfd, (long)poll->batch, max,
                            whole_ms(timeout_ns));
}
#else
static int wait_coarse(ev_poll *poll, int max, int64_t timeout_ns)
{
    int n = epoll_wait(poll->epfd, poll->batch, max, whole_ms(timeout_ns));
    return n < 0 ? -errno : n;
}
#endif

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 35)
/* For a poll or an endless sleep, epoll_wait says the same with less. */
static int wait_fine(ev_poll *poll, int max, int64_t timeout_ns)
{
    if (timeout_ns <= 0 || poll->coarse)
        return wait_coarse(poll, max, timeout_ns);
    struct timespec timeout = {.tv_sec = timeout_ns / NS_PER_S, .tv_nsec = timeout_ns % NS_PER_S};
    int n = epoll_pwait2(poll->epfd, poll->batch, max, &timeout, NULL);
    if (n >= 0)
        return n;
    if (errno != ENOSYS)
        return -errno;
    poll->coarse = 1; /* before Linux 5.11 */
    return wait_coarse(poll, max, timeout_ns);
}
#else
#define wait_fine wait_coarse
#endif

/* A hang-up or an error ends both directions: whoever waits for either finds out by trying. */
static int events_of(uint32_t e)
{
    int events = 0;
    if (e & EPOLLIN)
        events |= EV_READ;
    if (e & EPOLLOUT)
        events |= EV_WRITE;
    if (e & EPOLLRDHUP)
        events |= EV_READ | EV_EOF;
    if (e & (EPOLLHUP | EPOLLERR))
        events |= EV_READ | EV_WRITE | EV_EOF;
    return events;
}

static void drain(int wakefd)
{
    uint64_t count;
    ssize_t n = read(wakefd, &count, sizeof(count));
    (void)n; /* EAGAIN: somebody's wake-up was seen twice */
}

int poll_wait(ev_poll *poll, ev_poll_event *events, int max, int64_t timeout_ns)
{
    int n = wait_fine(poll, max < BATCH ? max : BATCH, timeout_ns);
    if (n < 0)
        return n == -EINTR ? 0 : n;
    int filled = 0;
    for (int i = 0; i < n; i++) {
        if (poll->batch[i].data.u64 == WAKE_KEY) {
            drain(poll->wakefd);
            continue;
        }
        events[filled].key = poll->batch[i].data.u64;
        events[filled].events = events_of(poll->batch[i].events);
        filled++;
    }
    return filled;
}
