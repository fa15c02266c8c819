/*
 * The master's side of a cluster: the ways over which its workers ask for sockets, which it lends
 * to them (lease.h), and tell it how they are. net/lent.h is the workers'
 * side. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "lease.h"
#include "lua/sched.h"
#include "modules/http/trail.h"
#include "modules/metrics/metrics.h"
#include "modules/net/lent.h"
#include "modules/net/sock.h"
#include "process.h"
#include "unit.h"

enum { NOTICES_MAX = 16 };

struct links_way {
    ev_io io;
    holder who;
    size_t have;
    lent_request in;
    int notices[NOTICES_MAX];
    int nnotices;
    waitq waiters;
    http_trail *trail; /* what the worker served; NULL: it has not asked for it */
    bool over;
    ev_release release;
};

static uint32_t last_way;

static void end_way(links_way *way)
{
    if (way->over)
        return;
    way->over = true;
    lease_forget(&way->who);
    ev_io_close(sched_loop(), &way->io);
    waitq_wake_all(&way->waiters, 0);
    ev_loop_again(sched_loop());
}

static int lend(links_way *way, lent_answer *reply)
{
    switch (way->in.kind) {
    case LENT_MEMORY:
        return metrics_lend(way->in.what);
    case LENT_TRAIL:
        return way->trail ? -EBUSY : trail_new(&way->trail);
    default:
        return lease_lend(&way->who, &way->in, &reply->lease);
    }
}

static bool answer(links_way *way)
{
    lent_answer reply = {0};
    int fd = lend(way, &reply);
    reply.rc = fd < 0 ? fd : 0;
    ssize_t n;
    if (fd < 0)
        n = send(way->io.fd, &reply, sizeof(reply), MSG_NOSIGNAL);
    else
        n = sock_send_fd(way->io.fd, fd, (const char *)&reply, sizeof(reply));
    if (fd >= 0 && way->in.kind == LENT_TRAIL)
        close(fd); /* each worker has one of its own */
    return n == (ssize_t)sizeof(reply);
}

/* False for a worker that is not this program. */
static bool take(links_way *way)
{
    const lent_request *in = &way->in;
    if (in->magic != LENT_MAGIC || in->size != sizeof(*in) || in->path_len > sizeof(in->path))
        return false;
    switch (in->kind) {
    case LENT_TCP:
    case LENT_UNIX:
    case LENT_UDP:
    case LENT_NAMED:
    case LENT_MEMORY:
    case LENT_TRAIL:
        return answer(way);
    case LENT_RELEASE:
        lease_release(&way->who, in->lease);
        return true;
    case LENT_NOTICE:
        if (way->nnotices < NOTICES_MAX)
            way->notices[way->nnotices++] = in->what;
        waitq_wake_all(&way->waiters, 0);
        ev_loop_again(sched_loop());
        return true;
    default:
        return false;
    }
}

static void on_way(ev_loop *loop, ev_io *io, int events)
{
    links_way *way = CONTAINER_OF(io, links_way, io);
    (void)loop;
    (void)events;
    while (!way->over) {
        ssize_t n = recv(io->fd, (char *)&way->in + way->have, sizeof(way->in) - way->have, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) {
            end_way(way);
            return;
        }
        way->have += (size_t)n;
        if (way->have < sizeof(way->in))
            continue;
        way->have = 0;
        if (!take(way))
            end_way(way);
    }
}

static int make_pair(int ends[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        if (fcntl(ends[i], F_SETFD, FD_CLOEXEC) < 0 || fcntl(ends[i], F_SETFL, O_NONBLOCK) < 0) {
            int rc = -errno;
            close(ends[0]);
            close(ends[1]);
            return rc;
        }
    }
    return 0;
}

int links_way_open(links_way **out, int slot, int generation, int *child)
{
    int ends[2];
    int rc = make_pair(ends);
    if (rc < 0)
        return rc;
    links_way *way = mem_new(links_way);
    way->who = (holder){.slot = slot, .generation = generation, .serial = ++last_way};
    waitq_init(&way->waiters);
    rc = ev_io_start(sched_loop(), &way->io, ends[0], on_way);
    if (rc < 0) {
        close(ends[0]);
        close(ends[1]);
        mem_free(way);
        return rc;
    }
    *out = way;
    *child = ends[1];
    return 0;
}

int links_way_next(links_way *way)
{
    if (way->nnotices) {
        int what = way->notices[0];
        way->nnotices--;
        memmove(way->notices, way->notices + 1, (size_t)way->nnotices * sizeof(*way->notices));
        return what;
    }
    return way->over ? LINKS_EOF : sched_park(&way->waiters, 0, 0, "notice of a worker");
}

void links_way_last(const links_way *way, links_last_request *last)
{
    trail_last(way->trail, last);
}

static void release(ev_release *r)
{
    links_way *way = CONTAINER_OF(r, links_way, release);
    trail_free(way->trail);
    mem_free(way);
}

void links_way_free(links_way *way)
{
    end_way(way);
    ev_release_later(sched_loop(), &way->release, release);
}

/* --- the worker ------------------------------------------------------------------------------- */

int links_worker_tell(int what) { return lent_notice(what); }
