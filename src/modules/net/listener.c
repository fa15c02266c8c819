#include "listener.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "inherited.h"
#include "lent.h"
#include "sock.h"

enum { EMPTY_BURSTS = 16 };

static int open_reserve(void) { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

static int accept_one(listener *l, address *peer)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);
    int fd = sock_accept(l->io.fd, (struct sockaddr *)&ss, &len);
    if (fd < 0)
        return -errno;
    address_from_sockaddr(peer, &ss);
    return fd;
}

/* No descriptor is left. Give up the one in reserve to take a client off the queue and close it,
 * which tells him at once; otherwise he would wait, and we would be told of him for ever.
 * Returns 0 when one was turned away. */
static int turn_away(listener *l)
{
    if (l->reserve < 0)
        l->reserve = open_reserve();
    if (l->reserve < 0)
        return -EMFILE;
    close(l->reserve);
    int fd = accept(l->io.fd, NULL, NULL);
    int rc = fd < 0 ? -errno : 0;
    if (fd >= 0) {
        close(fd);
        l->nrefused++;
    }
    l->reserve = open_reserve();
    return rc;
}

/* Takes up to a burst from the queue. Whatever stops it leaves behind who will call it again: the
 * next edge when the queue is empty, else the timer. */
static void accept_burst(listener *l)
{
    for (int i = 0; i < LISTENER_BURST; i++) {
        if (l->paused || l->io.fd < 0)
            return;
        address peer;
        int fd = accept_one(l, &peer);
        if (fd >= 0) {
            l->naccepted++;
            l->accepted(l, fd, &peer);
            continue;
        }
        if (fd == -EMFILE)
            fd = turn_away(l);
        switch (fd) {
        case 0:
        case -EINTR:
        case -ECONNABORTED: /* the client has left; RFC 9293 stacks report it here */
        case -EPROTO:
        case -EPERM: /* a firewall rule */
            continue;
        case -EAGAIN:
            l->pending = false;
            return;
        default: /* ENFILE, ENOBUFS, ENOMEM: only time helps, and it is the whole machine's */
            ev_timer_start(l->loop, &l->timer, LISTENER_BACKOFF_MS, 0);
            return;
        }
    }
    ev_timer_start(l->loop, &l->timer, 0, 0);
}

static void on_timer(ev_loop *loop, ev_timer *timer)
{
    (void)loop;
    accept_burst(CONTAINER_OF(timer, listener, timer));
}

static void on_io(ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    listener *l = CONTAINER_OF(io, listener, io);
    l->pending = true;
    /* A burst to be continued, or a back-off, has its own time. */
    if (!ev_timer_active(&l->timer))
        accept_burst(l);
}

/* What is accepted inherits these, which saves system calls per connection. */
static int configure_accepted(int fd, const listener_options *options)
{
    int rc = sock_set_tcp(fd, options->nodelay, options->keepalive, options->keepidle);
#ifdef TCP_DEFER_ACCEPT
    if (rc == 0 && options->defer > 0)
        rc = sock_set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, options->defer);
#endif
    return rc;
}

/* A hint: where the system has it switched off, connections are made as ever. */
static void allow_fast_open(int fd, int queue)
{
#ifdef TCP_FASTOPEN
    if (queue > 0)
        (void)sock_set(fd, IPPROTO_TCP, TCP_FASTOPEN, queue);
#else
    (void)fd, (void)queue;
#endif
}

/* FreeBSD spreads connections over sockets of this kind only. */
#ifdef SO_REUSEPORT_LB
enum { REUSEPORT = SO_REUSEPORT_LB };
#else
enum { REUSEPORT = SO_REUSEPORT };
#endif

static int configure(int fd, const address *at, const listener_options *options)
{
    int rc = sock_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (rc == 0 && options->reuseport)
        rc = sock_set(fd, SOL_SOCKET, REUSEPORT, 1);
    if (rc == 0 && at->family == 6)
        rc = sock_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, options->v6only);
    allow_fast_open(fd, options->fast_open);
    return rc == 0 ? configure_accepted(fd, options) : rc;
}

static int bind_to(int fd, const address *at)
{
    struct sockaddr_storage ss;
    socklen_t len = address_to_sockaddr(at, &ss);
    return bind(fd, (struct sockaddr *)&ss, len) < 0 ? -errno : 0;
}

int listener_adopt(listener *l, ev_loop *loop, int fd, int backlog)
{
    void (*accepted)(listener *, int, const address *) = l->accepted;
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);

    *l = (listener){.io = {.fd = -1}, .loop = loop, .accepted = accepted, .reserve = -1};
    assert(accepted);
    ev_timer_init(&l->timer, on_timer);
    if (listen(fd, backlog ? backlog : LISTENER_BACKLOG) < 0)
        return -errno;
    if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
        return -errno;
    address_from_sockaddr(&l->local, &ss);
    int rc = ev_io_start(loop, &l->io, fd, on_io);
    if (rc == 0)
        l->reserve = open_reserve();
    return rc;
}

/* Whether somebody listens there, found out by a socket that would not share the port. */
static int probe(const address *at, bool v6only)
{
    int fd = sock_open(at->family == 6 ? AF_INET6 : AF_INET, SOCK_STREAM);
    if (fd < 0)
        return -errno;
    int rc = sock_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (rc == 0 && at->family == 6)
        rc = sock_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6only);
    if (rc == 0)
        rc = bind_to(fd, at);
    close(fd);
    return rc;
}

int listener_bind(const address *at, const listener_options *options)
{
    int fd = sock_open(at->family == 6 ? AF_INET6 : AF_INET, SOCK_STREAM);
    if (fd < 0)
        return -errno;
    int rc = configure(fd, at, options);
    if (rc == 0 && options->reuseport && options->exclusive && at->port)
        rc = probe(at, options->v6only);
    if (rc == 0)
        rc = bind_to(fd, at);
    if (rc < 0)
        close(fd);
    return rc < 0 ? rc : fd;
}

/* What somebody else has set up, the master perhaps as an earlier version of the program wanted it,
 * is made as it is to be now. */
static int set_up(int fd, const listener_options *options)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);
    if (fd < 0)
        return fd;
    int rc = getsockname(fd, (struct sockaddr *)&ss, &len) < 0 ? -errno : 0;
    if (rc == 0 && ss.ss_family != AF_UNIX)
        rc = configure_accepted(fd, options);
    if (rc < 0)
        close(fd);
    return rc < 0 ? rc : fd;
}

static int find_socket(const address *at, const listener_options *options, uint32_t *lease)
{
    if (lent_active())
        return set_up(lent_tcp(at, options, lease), options);
    int fd = inherited_at(SOCK_STREAM, at);
    return fd < 0 ? listener_bind(at, options) : set_up(fd, options);
}

static int find_named(const char *name, const listener_options *options, uint32_t *lease)
{
    if (lent_active())
        return set_up(lent_named(SOCK_STREAM, name, lease), options);
    return set_up(inherited_name(SOCK_STREAM, name, strlen(name)), options);
}

void listener_owes(listener *l, uint32_t lease) { l->lease = lease; }

static int begin(listener *l, ev_loop *loop, int fd, const listener_options *options,
                 uint32_t lease)
{
    int rc = listener_adopt(l, loop, fd, options->backlog);
    l->lease = lease;
    if (rc < 0)
        close(fd);
    return rc;
}

int listener_open(listener *l, ev_loop *loop, const address *at, const listener_options *options)
{
    uint32_t lease = 0;
    int fd = find_socket(at, options, &lease);
    return fd < 0 ? fd : begin(l, loop, fd, options, lease);
}

int listener_open_host(listener *l, ev_loop *loop, const char *host, int port,
                       const listener_options *options)
{
    const char *name = inherited_host(host);
    uint32_t lease = 0;
    address at;
    if (name) {
        int fd = find_named(name, options, &lease);
        return fd < 0 ? fd : begin(l, loop, fd, options, lease);
    }
    int rc = address_parse(&at, host, port);
    return rc < 0 ? rc : listener_open(l, loop, &at, options);
}

void listener_close(listener *l)
{
    if (l->io.fd < 0)
        return;
    ev_timer_stop(l->loop, &l->timer);
    if (l->lease) {
        /* The socket lives on in the master, and so would its watch. */
        int fd = l->io.fd;
        ev_io_stop(l->loop, &l->io);
        close(fd);
        lent_release(l->lease);
        l->lease = 0;
    } else {
        ev_io_close(l->loop, &l->io);
    }
    l->io.fd = -1;
    if (l->reserve >= 0)
        close(l->reserve);
    l->reserve = -1;
}

void listener_empty(listener *l)
{
    l->pending = true; /* the edge may not have been seen yet */
    for (int i = 0; i < EMPTY_BURSTS && l->pending; i++)
        accept_burst(l);
}

void listener_pause(listener *l)
{
    l->paused = true;
    ev_timer_stop(l->loop, &l->timer);
}

void listener_resume(listener *l)
{
    if (!l->paused)
        return;
    l->paused = false;
    if (l->pending && l->io.fd >= 0)
        ev_timer_start(l->loop, &l->timer, 0, 0);
}
