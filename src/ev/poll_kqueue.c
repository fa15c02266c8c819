/*
 * The poll interface on the BSDs and macOS: kqueue(2), edge-triggered (EV_CLEAR), and a pipe that
 * wakes it.
 *
 * A descriptor has two filters here, so its two directions come as two events. The kernel drops
 * both when the descriptor is closed. Of the key only the generation travels as udata, which is
 * no wider than a pointer; the descriptor comes back as the event's ident.
 */
#include "poll.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "ev/ev.h"

/* The system's header makes EV_EOF a macro with a meaning of its own: ours is kept before it. */
enum { EV_ENDED = EV_EOF };

#include <sys/event.h>

enum { NS_PER_S = 1000 * 1000 * 1000, BATCH = 256 };

/* Some kernels refuse a timeout of years; to wake once a day for nothing costs nothing. */
enum { LONGEST_SLEEP_S = 24 * 60 * 60 };

struct ev_poll {
    int kq;
    int wake_read, wake_write; /* the pipe */
    struct kevent batch[BATCH];
};

/* Adds (EV_ADD) or deletes (EV_DELETE) the read filter, and with `filters` 2 the write filter too.
 * With EV_RECEIPT the kernel answers each change by itself, with an event that carries EV_ERROR
 * and the errno, or 0. Returns the number of changes made, and the error of the first that was
 * not. */
static int change(int kq, int fd, uint32_t generation, int action, int filters, int *error)
{
    const struct timespec at_once = {0, 0};
    const int flags = action | EV_CLEAR | EV_RECEIPT;
    void *udata = (void *)(uintptr_t)generation;
    struct kevent changes[2], receipts[2];
    EV_SET(&changes[0], fd, EVFILT_READ, flags, 0, 0, udata);
    EV_SET(&changes[1], fd, EVFILT_WRITE, flags, 0, 0, udata);
    *error = 0;
    int n = kevent(kq, changes, filters, receipts, filters, &at_once);
    if (n < 0)
        *error = errno;
    int made = 0;
    for (int i = 0; i < n; i++) {
        if (receipts[i].data == 0)
            made++;
        else if (*error == 0)
            *error = (int)receipts[i].data;
    }
    return made;
}

static int set_flags(int fd)
{
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -1;
    return fcntl(fd, F_SETFL, O_NONBLOCK);
}

ev_poll *poll_open(void)
{
    int error;
    int ends[2] = {-1, -1};
    int kq = kqueue();
    if (kq < 0)
        return NULL;
    if (fcntl(kq, F_SETFD, FD_CLOEXEC) < 0 || pipe(ends) < 0)
        goto fail_errno;
    if (set_flags(ends[0]) < 0 || set_flags(ends[1]) < 0)
        goto fail_errno;
    if (change(kq, ends[0], 0, EV_ADD, 1, &error) != 1)
        goto fail;
    ev_poll *poll = mem_new(ev_poll);
    poll->kq = kq;
    poll->wake_read = ends[0];
    poll->wake_write = ends[1];
    return poll;

fail_errno:
    error = errno;
fail:
    if (ends[0] >= 0) {
        close(ends[0]);
        close(ends[1]);
    }
    close(kq);
    errno = error;
    return NULL;
}

void poll_close(ev_poll *poll)
{
    close(poll->wake_write);
    close(poll->wake_read);
    close(poll->kq);
    mem_free(poll);
}

/* kqueue would watch plain files and call them ready, always; here as with epoll they are an
 * error, for reading them blocks. */
static int check_kind(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    return S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ? -EPERM : 0;
}

int poll_set(ev_poll *poll, int fd, uint64_t key, int on)
{
    int error;
    if (!on)
        return change(poll->kq, fd, 0, EV_DELETE, 2, &error) > 0 ? 0 : -error;
    int rc = check_kind(fd);
    if (rc < 0)
        return rc;
    /* One direction is enough: a pipe's end may refuse the filter of the other. */
    return change(poll->kq, fd, (uint32_t)(key >> 32), EV_ADD, 2, &error) > 0 ? 0 : -error;
}

int poll_mute(ev_poll *poll, int fd, uint64_t key, int on)
{
    int error;
    int action = on ? EV_DELETE : EV_ADD;
    return change(poll->kq, fd, (uint32_t)(key >> 32), action, 1, &error) == 1 ? 0 : -error;
}

void poll_wake(ev_poll *poll)
{
    int error = errno;
    /* It fails only where the pipe is full, and then it is readable anyway. */
    ssize_t n = write(poll->wake_write, "", 1);
    (void)n;
    errno = error;
}

/* --- waiting --------------------------------------------------------------------------------- */

static void drain(int wake_read)
{
    char bytes[64];
    while (read(wake_read, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes)) {
    }
}

/* On the write filter EV_EOF means that nobody will read any more, which reading, too, finds
 * out. */
static int events_of(const struct kevent *e)
{
    if (e->flags & EV_ERROR)
        return EV_READ | EV_WRITE | EV_ENDED;
    if (e->filter == EVFILT_READ)
        return e->flags & EV_EOF ? EV_READ | EV_ENDED : EV_READ;
    return e->flags & EV_EOF ? EV_READ | EV_WRITE | EV_ENDED : EV_WRITE;
}

static const struct timespec *timespec_of(int64_t ns, struct timespec *ts)
{
    if (ns < 0)
        return NULL;
    ts->tv_sec = ns / NS_PER_S < LONGEST_SLEEP_S ? ns / NS_PER_S : LONGEST_SLEEP_S;
    ts->tv_nsec = ns % NS_PER_S;
    return ts;
}

int poll_wait(ev_poll *poll, ev_poll_event *events, int max, int64_t timeout_ns)
{
    struct timespec ts;
    const struct timespec *timeout = timespec_of(timeout_ns, &ts);
    int n = kevent(poll->kq, NULL, 0, poll->batch, max < BATCH ? max : BATCH, timeout);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    int filled = 0;
    for (int i = 0; i < n; i++) {
        const struct kevent *e = &poll->batch[i];
        if (e->ident == (uintptr_t)poll->wake_read) {
            drain(poll->wake_read);
            continue;
        }
        events[filled].key = (uint64_t)(uintptr_t)e->udata << 32 | (uint32_t)e->ident;
        events[filled].events = events_of(e);
        filled++;
    }
    return filled;
}
