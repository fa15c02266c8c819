/*
 * kqueue(2) from epoll(7), as far as the reactor's tests need it: the read and the write filter,
 * edge-triggered (EV_CLEAR), receipts, errors, time-outs.
 *
 * The kqueue descriptor is an epoll descriptor. What epoll cannot keep, the udata of two filters,
 * is kept here per descriptor. An event of a registration that is not the present one - epoll
 * goes on reporting a closed descriptor while a copy of it is open, which a kqueue does not - is
 * dropped. A filter may be reported ready when only the other one has changed; nothing is lost.
 */
#include "sys/event.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { READ, WRITE, FILTERS, BATCH = 64 };

typedef struct knote {
    bool on[FILTERS];
    void *udata[FILTERS];
    uint32_t generation; /* of the registration with epoll */
} knote;

typedef struct queue {
    knote *knotes; /* by descriptor */
    size_t knotes_len;
    struct kevent left[BATCH * FILTERS]; /* taken from epoll and not yet given to the caller */
    int left_first, left_end;
} queue;

/* One per kqueue descriptor, reused with its number. */
static struct {
    pthread_mutex_t lock;
    queue **queues;
    size_t len;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* An array of `len` elements grown so that `index` is in it, the new part zero. */
static void *grown(void *array, size_t *len, size_t index, size_t size)
{
    if (index < *len)
        return array;
    size_t more = index + 1 + index / 2;
    array = realloc(array, more * size);
    if (!array)
        abort();
    memset((char *)array + *len * size, 0, (more - *len) * size);
    *len = more;
    return array;
}

int kqueue(void)
{
    int kq = epoll_create1(0);
    if (kq < 0)
        return -1;
    pthread_mutex_lock(&all.lock);
    all.queues = grown(all.queues, &all.len, (size_t)kq, sizeof(queue *));
    if (all.queues[kq])
        free(all.queues[kq]->knotes);
    else
        all.queues[kq] = malloc(sizeof(queue));
    if (!all.queues[kq])
        abort();
    memset(all.queues[kq], 0, sizeof(queue));
    pthread_mutex_unlock(&all.lock);
    return kq;
}

static queue *queue_of(int kq)
{
    pthread_mutex_lock(&all.lock);
    queue *q = kq >= 0 && (size_t)kq < all.len ? all.queues[kq] : NULL;
    pthread_mutex_unlock(&all.lock);
    return q;
}

/* --- changes ---------------------------------------------------------------------------------- */

static int tell_epoll(int kq, int op, int fd, const knote *note)
{
    struct epoll_event event = {.events = EPOLLET,
                                .data.u64 = (uint64_t)note->generation << 32 | (uint32_t)fd};
    if (note->on[READ])
        event.events |= EPOLLIN | EPOLLRDHUP;
    if (note->on[WRITE])
        event.events |= EPOLLOUT;
    return epoll_ctl(kq, op, fd, &event) < 0 ? errno : 0;
}

/* epoll does not know the file under this number: it is new, so no filter is on. */
static int add_anew(int kq, int fd, knote *note, int filter)
{
    note->on[READ] = note->on[WRITE] = false;
    note->on[filter] = true;
    note->generation++;
    return tell_epoll(kq, EPOLL_CTL_ADD, fd, note);
}

static int add(int kq, int fd, knote *note, int filter, void *udata)
{
    note->on[filter] = true;
    int error = tell_epoll(kq, EPOLL_CTL_MOD, fd, note);
    if (error == ENOENT)
        error = add_anew(kq, fd, note, filter);
    if (error)
        note->on[filter] = false;
    else
        note->udata[filter] = udata;
    return error;
}

static int drop(int kq, int fd, knote *note, int filter)
{
    if (!note->on[filter])
        return ENOENT;
    note->on[filter] = false;
    bool last = !note->on[READ] && !note->on[WRITE];
    return tell_epoll(kq, last ? EPOLL_CTL_DEL : EPOLL_CTL_MOD, fd, note);
}

/* Makes one change; 0 or the errno of its failure. */
static int change(int kq, queue *q, const struct kevent *c)
{
    if (c->filter != EVFILT_READ && c->filter != EVFILT_WRITE)
        return EINVAL;
    if (c->ident > INT_MAX)
        return EBADF;
    int fd = (int)c->ident;
    int filter = c->filter == EVFILT_READ ? READ : WRITE;
    q->knotes = grown(q->knotes, &q->knotes_len, (size_t)fd, sizeof(knote));
    if (c->flags & EV_DELETE)
        return drop(kq, fd, &q->knotes[fd], filter);
    if (!(c->flags & EV_ADD) || !(c->flags & EV_CLEAR))
        return EINVAL;
    return add(kq, fd, &q->knotes[fd], filter, c->udata);
}

/* All changes; failures and receipts become events. Returns the number of these, or -1 with errno
 * where there is no room for one. */
static int change_all(int kq, queue *q, const struct kevent *changes, int nchanges,
                      struct kevent *events, int nevents)
{
    int told = 0;
    for (int i = 0; i < nchanges; i++) {
        int error = change(kq, q, &changes[i]);
        if (!error && !(changes[i].flags & EV_RECEIPT))
            continue;
        if (told == nevents) {
            errno = error;
            return -1;
        }
        events[told] = changes[i];
        events[told].flags = EV_ERROR;
        events[told].data = error;
        told++;
    }
    return told;
}

/* --- waiting ---------------------------------------------------------------------------------- */

static void leave(queue *q, int fd, short filter, bool eof)
{
    knote *note = &q->knotes[fd];
    struct kevent *e = &q->left[q->left_end++];
    EV_SET(e, fd, filter, EV_CLEAR | (eof ? EV_EOF : 0), 0, 0,
           note->udata[filter == EVFILT_READ ? READ : WRITE]);
}

static void take(queue *q, const struct epoll_event *event)
{
    int fd = (int)(uint32_t)event->data.u64;
    const knote *note = &q->knotes[fd];
    if (note->generation != (uint32_t)(event->data.u64 >> 32))
        return;
    bool over = event->events & (EPOLLHUP | EPOLLERR);
    bool half = event->events & EPOLLRDHUP;
    if (note->on[READ] && (over || half || event->events & EPOLLIN))
        leave(q, fd, EVFILT_READ, over || half);
    if (note->on[WRITE] && (over || event->events & EPOLLOUT))
        leave(q, fd, EVFILT_WRITE, over);
}

/* Whole milliseconds, rounded up; a kqueue's own are finer. */
static int ms_of(const struct timespec *timeout)
{
    if (!timeout)
        return -1;
    int64_t ms = (int64_t)timeout->tv_sec * 1000 + (timeout->tv_nsec + 999999) / 1000000;
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

int kevent(int kq, const struct kevent *changes, int nchanges, struct kevent *events, int nevents,
           const struct timespec *timeout)
{
    queue *q = queue_of(kq);
    if (!q) {
        errno = EBADF;
        return -1;
    }
    int told = change_all(kq, q, changes, nchanges, events, nevents);
    if (told != 0 || nevents == 0)
        return told;

    if (q->left_first == q->left_end) {
        struct epoll_event batch[BATCH];
        int n = epoll_wait(kq, batch, BATCH, ms_of(timeout));
        if (n < 0)
            return -1;
        q->left_first = q->left_end = 0;
        for (int i = 0; i < n; i++)
            take(q, &batch[i]);
    }
    while (told < nevents && q->left_first < q->left_end)
        events[told++] = q->left[q->left_first++];
    return told;
}
