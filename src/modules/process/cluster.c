/*
 * The master's side of a cluster: it binds what its workers want to listen on, and lends it to them;
 * net/lent.h is the workers' side. One socket for each worker, so that the system spreads the
 * connections; the master only keeps them, so that their queues outlive a worker.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/list.h"
#include "base/mem.h"
#include "lua/sched.h"
#include "modules/net/lent.h"
#include "modules/net/sock.h"
#include "modules/net/unix.h"
#include "process.h"
#include "unit.h"

/* Where one socket for each worker spreads nothing, they share one. */
#if defined(SO_REUSEPORT_LB) || defined(__linux__)
enum { SPREADS = 1 };
#else
enum { SPREADS = 0 };
#endif

enum { LEASES_MAX = 1024, NOTICES_MAX = 16 };

/* A holder that has ended: what it held waits for its successor. */
#define GONE UINT32_MAX

/* A place to listen, and its sockets. */
typedef struct lease {
    list link;
    lent_request what; /* as it was first asked for */
    uint32_t id;
    int generation; /* of the latest worker that has asked */
    int nfds;
    int *fds;       /* by slot, -1 for none; where it is shared, only the first */
    uint32_t *held; /* by slot: the serial number of the way of who listens; 0 for nobody */
    bool shared;
    int port; /* that the system has chosen, where none was asked for */
    unix_file file;
} lease;

struct links_way {
    ev_io io;
    int slot, generation;
    uint32_t serial;
    size_t have;
    lent_request in;
    int notices[NOTICES_MAX];
    int nnotices;
    waitq waiters;
    bool over;
    ev_release release;
};

static struct {
    list leases;
    uint32_t last, last_way;
    int count;
} all = {.leases = {&all.leases, &all.leases}};

/* --- leases ------------------------------------------------------------------------------------ */

static void free_lease(lease *l)
{
    list_remove(&l->link);
    all.count--;
    for (int i = 0; i < l->nfds; i++)
        if (l->fds[i] >= 0)
            close(l->fds[i]);
    unix_file_remove(&l->file);
    mem_free(l->fds);
    mem_free(l->held);
    mem_free(l);
}

static bool is_same(const lent_request *a, const lent_request *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == LENT_UNIX)
        return a->path_len == b->path_len && memcmp(a->path, b->path, a->path_len) == 0;
    return a->at.family == b->at.family && a->at.port == b->at.port && a->nth == b->nth &&
           memcmp(a->at.ip, b->at.ip, a->at.family == 6 ? 16 : 4) == 0;
}

static lease *find_lease(const lent_request *what)
{
    LIST_EACH (node, &all.leases) {
        lease *l = CONTAINER_OF(node, lease, link);
        if (is_same(&l->what, what))
            return l;
    }
    return NULL;
}

static lease *new_lease(const lent_request *what)
{
    lease *l = mem_new(lease);
    l->what = *what;
    l->id = ++all.last;
    l->shared = !SPREADS || what->kind == LENT_UNIX || !what->options.reuseport;
    list_push_back(&all.leases, &l->link);
    all.count++;
    return l;
}

static void make_room(lease *l, int slot)
{
    if (slot < l->nfds)
        return;
    l->fds = mem_realloc(l->fds, (size_t)(slot + 1) * sizeof(*l->fds));
    l->held = mem_realloc(l->held, (size_t)(slot + 1) * sizeof(*l->held));
    for (; l->nfds <= slot; l->nfds++) {
        l->fds[l->nfds] = -1;
        l->held[l->nfds] = 0;
    }
}

/* Whoever listens there already is in the way of the first of our sockets, and of no other. */
static int bind_tcp(lease *l, bool is_first)
{
    address at = l->what.at;
    listener_options options = l->what.options;
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);
    options.exclusive = options.exclusive && is_first;
    if (l->port)
        at.port = (uint16_t)l->port;
    int fd = listener_bind(&at, &options);
    if (fd < 0 || l->port)
        return fd;
    if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    address_from_sockaddr(&at, &ss);
    l->port = at.port;
    return fd;
}

static bool is_empty(const lease *l)
{
    for (int i = 0; i < l->nfds; i++)
        if (l->fds[i] >= 0)
            return false;
    return true;
}

/* The socket for that worker: a descriptor that stays ours, or -errno. */
static int lend(const links_way *way, uint32_t *id)
{
    const lent_request *what = &way->in;
    int slot = way->slot;
    lease *l = find_lease(what);
    if (!l && all.count == LEASES_MAX)
        return -EMFILE;
    if (!l)
        l = new_lease(what);
    make_room(l, slot);
    int at = l->shared ? 0 : slot;
    int fd = l->fds[at];
    if (fd < 0) {
        fd = what->kind == LENT_UNIX ? unix_bind(&l->file, what->path, what->path_len, &what->file)
                                     : bind_tcp(l, is_empty(l));
        if (fd < 0) {
            if (is_empty(l))
                free_lease(l);
            return fd;
        }
        l->fds[at] = fd;
    } else if (l->held[slot] == way->serial &&
               (what->kind == LENT_UNIX || what->options.exclusive || !what->options.reuseport)) {
        return -EADDRINUSE; /* this same worker listens there */
    }
    l->held[slot] = way->serial;
    if (l->generation < way->generation)
        l->generation = way->generation;
    *id = l->id;
    return fd;
}

/* A worker has closed a server, and goes on. */
static void release_lease(uint32_t id, int slot, uint32_t serial)
{
    LIST_EACH (node, &all.leases) {
        lease *l = CONTAINER_OF(node, lease, link);
        if (l->id != id || slot >= l->nfds)
            continue;
        bool is_held = false;
        if (l->held[slot] != serial)
            return;
        l->held[slot] = 0;
        for (int i = 0; i < l->nfds; i++)
            is_held = is_held || l->held[i];
        if (!l->shared && l->fds[slot] >= 0) {
            close(l->fds[slot]);
            l->fds[slot] = -1;
        }
        if (!is_held)
            free_lease(l);
        return;
    }
}

/* Its successor may listen there. */
static void forget_holder(const links_way *way)
{
    LIST_EACH (node, &all.leases) {
        lease *l = CONTAINER_OF(node, lease, link);
        if (way->slot < l->nfds && l->held[way->slot] == way->serial)
            l->held[way->slot] = GONE;
    }
}

void links_cluster_sweep(int generation)
{
    for (list *node = all.leases.next, *next; node != &all.leases; node = next) {
        next = node->next;
        lease *l = CONTAINER_OF(node, lease, link);
        if (l->generation < generation)
            free_lease(l);
    }
}

/* --- ways -------------------------------------------------------------------------------------- */

static void end_way(links_way *way)
{
    if (way->over)
        return;
    way->over = true;
    forget_holder(way);
    ev_io_close(sched_loop(), &way->io);
    waitq_wake_all(&way->waiters, 0);
    ev_loop_again(sched_loop());
}

static bool answer(links_way *way)
{
    lent_answer reply = {0};
    int fd = lend(way, &reply.lease);
    reply.rc = fd < 0 ? fd : 0;
    ssize_t n;
    if (fd < 0)
        n = send(way->io.fd, &reply, sizeof(reply), MSG_NOSIGNAL);
    else
        n = sock_send_fd(way->io.fd, fd, (const char *)&reply, sizeof(reply));
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
        return answer(way);
    case LENT_RELEASE:
        release_lease(in->lease, way->slot, way->serial);
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
    way->slot = slot;
    way->generation = generation;
    way->serial = ++all.last_way;
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

static void release(ev_release *r) { mem_free(CONTAINER_OF(r, links_way, release)); }

void links_way_free(links_way *way)
{
    end_way(way);
    ev_release_later(sched_loop(), &way->release, release);
}

void links_cluster_close(void)
{
    while (!list_empty(&all.leases))
        free_lease(CONTAINER_OF(all.leases.next, lease, link));
}

/* --- the worker -------------------------------------------------------------------------------- */

int links_worker_tell(int what) { return lent_notice(what); }
