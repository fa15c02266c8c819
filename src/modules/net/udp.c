#include "udp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "address.h"
#include "base/mem.h"
#include "inherited.h"
#include "lent.h"
#include "lua/sched.h"
#include "sock.h"
#include "udp_batch.h"
#include "udp_bind.h"

/* What has been read and not been handed out. */
typedef struct received {
    uint32_t len;
    uint32_t at;      /* its place in the bytes */
    uint32_t segment; /* several datagrams of that length each, but for the last; 0: one */
    address from;
} received;

struct links_udp {
    ev_io io;
    waitq readers, writers;
    received queue[UDP_RECV_BATCH];
    char *bytes; /* of all of the queue, in one piece */
    int queued, next;
    int family;
    bool readable;
    uint32_t lease; /* the number of a socket that the master of a cluster has lent; 0: our own */
};

/* Where the system puts the datagrams of one read, of whatever socket. Only the pages that are
 * used cost memory. */
static char *scratch;

/* --- life ---------------------------------------------------------------------------------- */

static void on_io(ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    links_udp *s = CONTAINER_OF(io, links_udp, io);
    if (events & EV_READ) {
        s->readable = true;
        waitq_wake_all(&s->readers, 0);
    }
    if (events & EV_WRITE)
        waitq_wake_all(&s->writers, 0);
}

static int set(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Some systems want a byte for these, and all take one. */
static int set_byte(int fd, int level, int name, int value)
{
    unsigned char byte = (unsigned char)value;
    return setsockopt(fd, level, name, &byte, sizeof(byte)) < 0 ? -errno : 0;
}

/* What has to be known before it is bound. */
static int prepare(int fd, const links_udp_options *o, bool shares)
{
    int rc = 0;
    if (shares)
        rc = set(fd, SOL_SOCKET, SO_REUSEADDR, 1) ?: set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (!rc && o->family == 6)
        rc = set(fd, IPPROTO_IPV6, IPV6_V6ONLY, o->v6only);
    return rc;
}

static int family_of(int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);
    if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
        return -errno;
    return ss.ss_family == AF_INET6 ? 6 : ss.ss_family == AF_INET ? 4 : -EAFNOSUPPORT;
}

static int configure(int fd, int family, const links_udp_options *o)
{
    int rc = 0;
    if (o->broadcast)
        rc = set(fd, SOL_SOCKET, SO_BROADCAST, 1);
    if (!rc && o->recv_buffer)
        rc = set(fd, SOL_SOCKET, SO_RCVBUF, o->recv_buffer);
    if (!rc && o->send_buffer)
        rc = set(fd, SOL_SOCKET, SO_SNDBUF, o->send_buffer);
    if (rc)
        return rc;
    if (family == 6) {
        rc = set(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, o->multicast_ttl);
        return rc ?: set(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, o->multicast_loop);
    }
    rc = set_byte(fd, IPPROTO_IP, IP_MULTICAST_TTL, o->multicast_ttl);
    return rc ?: set_byte(fd, IPPROTO_IP, IP_MULTICAST_LOOP, o->multicast_loop);
}

static int bind_to(const address *at, const links_udp_options *o, bool shares)
{
    struct sockaddr_storage ss;
    int fd = sock_open(at->family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM);
    if (fd < 0)
        return -errno;
    int rc = prepare(fd, o, shares);
    socklen_t len = address_to_sockaddr(at, &ss);
    if (!rc && bind(fd, (struct sockaddr *)&ss, len) < 0)
        rc = -errno;
    if (rc < 0)
        close(fd);
    return rc < 0 ? rc : fd;
}

int udp_bind(const address *at, const links_udp_options *o, bool exclusive)
{
    if (exclusive) {
        int fd = bind_to(at, o, false);
        if (fd < 0)
            return fd;
        close(fd);
    }
    return bind_to(at, o, true);
}

/* A port of the system's choice is this process's own, in a cluster too. */
static int find_socket(const address *at, const links_udp_options *o, uint32_t *lease)
{
    if (lent_active() && at->port)
        return lent_udp(at, o, lease);
    int fd = inherited_at(SOCK_DGRAM, at);
    return fd < 0 ? bind_to(at, o, o->reuseport) : fd;
}

static int find_named(const char *name, uint32_t *lease)
{
    return lent_active() ? lent_named(SOCK_DGRAM, name, lease)
                         : inherited_name(SOCK_DGRAM, name, strlen(name));
}

static int find(const char *host, int port, const links_udp_options *o, uint32_t *lease)
{
    const char *name = inherited_host(host);
    address at;
    if (name)
        return find_named(name, lease);
    int rc = address_parse(&at, host, port);
    if (rc < 0)
        return rc;
    return at.family == o->family ? find_socket(&at, o, lease) : -EAFNOSUPPORT;
}

int links_udp_open(links_udp **out, const char *host, int port, const links_udp_options *o)
{
    uint32_t lease = 0;
    int fd = find(host, port, o, &lease);
    if (fd < 0)
        return fd;
    int family = family_of(fd);
    int rc = family < 0 ? family : configure(fd, family, o);
    if (rc < 0)
        goto fail;
    links_udp *s = mem_new(links_udp);
    s->family = family;
    s->readable = true;
    s->lease = lease;
    udp_offload(fd);
    waitq_init(&s->readers);
    waitq_init(&s->writers);
    rc = ev_io_start(sched_loop(), &s->io, fd, on_io);
    if (rc < 0) {
        mem_free(s);
        goto fail;
    }
    *out = s;
    return family;

fail:
    close(fd);
    return rc;
}

/* The socket lives on in the master, and so would its watch. */
static void give_back(links_udp *s)
{
    int fd = s->io.fd;
    ev_io_stop(sched_loop(), &s->io);
    close(fd);
    lent_release(s->lease);
}

void links_udp_close(links_udp *s)
{
    if (s->io.fd < 0)
        return;
    if (s->lease)
        give_back(s);
    else
        ev_io_close(sched_loop(), &s->io);
    s->io.fd = -1;
    mem_free(s->bytes);
    s->bytes = NULL;
    s->queued = s->next = 0;
    waitq_wake_all(&s->readers, LINKS_CLOSED);
    waitq_wake_all(&s->writers, LINKS_CLOSED);
}

void links_udp_free(links_udp *s)
{
    links_udp_close(s);
    mem_free(s);
}

/* --- receiving ----------------------------------------------------------------------------- */

/* Reads a batch into the queue, which is empty. Returns 0, or -errno. */
static int fill(links_udp *s)
{
    datagram batch[UDP_RECV_BATCH];
    if (!scratch)
        scratch = mem_alloc((size_t)UDP_RECV_BATCH * UDP_MAX);
    for (int i = 0; i < UDP_RECV_BATCH; i++) {
        batch[i].data = scratch + (size_t)i * UDP_MAX;
        batch[i].len = UDP_MAX;
    }
    /* A worker that ends leaves the rest to its successor, and loses none that it has read. */
    int room = s->lease && lent_keeps() ? 1 : UDP_RECV_BATCH;
    int n = udp_recv_batch(s->io.fd, batch, room);
    /* Fewer than there was room for: it is empty, and the next one will be told of. */
    if (n < room && (n >= 0 || n == -EAGAIN || n == -EWOULDBLOCK))
        s->readable = false;
    if (n <= 0)
        return n < 0 ? n : -EAGAIN;

    size_t total = 0;
    for (int i = 0; i < n; i++)
        total += batch[i].len;
    s->bytes = mem_realloc(s->bytes, total ? total : 1);
    size_t at = 0;
    for (int i = 0; i < n; i++) {
        received *r = &s->queue[i];
        r->len = (uint32_t)batch[i].len;
        r->at = (uint32_t)at;
        r->segment = (uint32_t)batch[i].segment;
        address_from_sockaddr(&r->from, &batch[i].name);
        memcpy(s->bytes + at, batch[i].data, batch[i].len);
        at += batch[i].len;
    }
    s->queued = n;
    s->next = 0;
    return 0;
}

int links_udp_recv(links_udp *s, links_udp_packet *packet, double timeout_ms)
{
    if (s->io.fd < 0)
        return LINKS_CLOSED;
    if (!waitq_empty(&s->readers))
        return -EBUSY;
    if (s->next == s->queued) {
        int rc = s->readable || timeout_ms < 0 ? fill(s) : -EAGAIN;
        if (rc == -EAGAIN || rc == -EWOULDBLOCK) {
            mem_free(s->bytes);
            s->bytes = NULL;
            if (timeout_ms < 0)
                return -ETIMEDOUT;
            return sched_park(&s->readers, (int64_t)timeout_ms, SCHED_IO, "udp recv");
        }
        if (rc < 0)
            return rc;
    }
    received *r = &s->queue[s->next];
    packet->data = s->bytes + r->at;
    packet->len = r->segment && r->segment < r->len ? r->segment : r->len;
    r->at += packet->len;
    r->len -= packet->len;
    if (!r->len)
        s->next++;
    packet->port = r->from.port;
    address_format(&r->from, packet->address);
    return 0;
}

/* --- sending ------------------------------------------------------------------------------- */

static int name_datagram(const links_udp *s, datagram *d, const char *host, int port)
{
    address to;
    d->name_len = 0;
    if (!host)
        return 0;
    int rc = address_parse(&to, host, port);
    if (rc < 0)
        return rc;
    if (to.family != s->family)
        return -EAFNOSUPPORT;
    d->name_len = address_to_sockaddr(&to, &d->name);
    return 0;
}

/* No room in the system: on Linux EAGAIN, on the BSDs ENOBUFS for what a queue cannot take, which
 * nobody tells the end of. */
static int park_writer(links_udp *s, int rc)
{
    if (rc == -EAGAIN || rc == -EWOULDBLOCK)
        return sched_park(&s->writers, 0, SCHED_IO, "udp send");
    return rc;
}

int links_udp_send(links_udp *s, const char *data, size_t len, const char *host, int port)
{
    datagram d = {.data = (void *)data, .len = len};
    if (s->io.fd < 0)
        return LINKS_CLOSED;
    int rc = name_datagram(s, &d, host, port);
    if (rc < 0)
        return rc;
    ssize_t n;
    do
        n = sendto(s->io.fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL,
                   d.name_len ? (struct sockaddr *)&d.name : NULL, d.name_len);
    while (n < 0 && errno == EINTR);
    return n < 0 ? park_writer(s, -errno) : 0;
}

int links_udp_send_many(links_udp *s, const links_udp_message *messages, int count)
{
    datagram batch[UDP_SEND_BATCH];
    int n = 0;
    if (s->io.fd < 0)
        return LINKS_CLOSED;
    for (; n < count && n < UDP_SEND_BATCH; n++) {
        const links_udp_message *m = &messages[n];
        batch[n].data = (void *)m->data;
        batch[n].len = m->len;
        int rc = name_datagram(s, &batch[n], m->host, m->port);
        if (rc < 0 && n == 0)
            return rc;
        if (rc < 0)
            break; /* the caller comes back with it as the first */
    }
    int sent = udp_send_batch(s->io.fd, batch, n);
    return sent < 0 ? park_writer(s, sent) : sent;
}

/* --- settings ------------------------------------------------------------------------------ */

int links_udp_connect(links_udp *s, const char *host, int port)
{
    datagram d;
    if (s->io.fd < 0)
        return LINKS_CLOSED;
    int rc = name_datagram(s, &d, host, port);
    if (rc < 0)
        return rc;
    return connect(s->io.fd, (struct sockaddr *)&d.name, d.name_len) < 0 ? -errno : 0;
}

/* The IPv4 address of an interface. */
static int find_interface(const char *name, struct in_addr *ip)
{
    struct ifaddrs *all;
    int rc = -ENODEV;
    if (inet_pton(AF_INET, name, ip) == 1)
        return 0;
    if (getifaddrs(&all) < 0)
        return -errno;
    for (struct ifaddrs *i = all; i && rc; i = i->ifa_next) {
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || strcmp(i->ifa_name, name) != 0)
            continue;
        *ip = ((struct sockaddr_in *)(void *)i->ifa_addr)->sin_addr;
        rc = 0;
    }
    freeifaddrs(all);
    return rc;
}

/* A predecessor of ours may have joined with the socket that we have been lent. */
static int join_result(const links_udp *s, int join, int rc)
{
    return s->lease && join && rc == -EADDRINUSE ? 0 : rc;
}

int links_udp_membership(links_udp *s, int join, const char *group, const char *interface)
{
    address at;
    if (s->io.fd < 0)
        return LINKS_CLOSED;
    int rc = address_parse(&at, group, 0);
    if (rc < 0)
        return rc;
    if (at.family != s->family)
        return -EAFNOSUPPORT;
    if (at.family == 6) {
        struct ipv6_mreq m = {0};
        memcpy(&m.ipv6mr_multiaddr, at.ip, 16);
        if (interface && !(m.ipv6mr_interface = if_nametoindex(interface)))
            return -ENODEV;
        rc = setsockopt(s->io.fd, IPPROTO_IPV6, join ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP, &m,
                        sizeof(m));
        return rc < 0 ? join_result(s, join, -errno) : 0;
    }
    struct ip_mreq m = {.imr_interface.s_addr = htonl(INADDR_ANY)};
    memcpy(&m.imr_multiaddr, at.ip, 4);
    if (interface && (rc = find_interface(interface, &m.imr_interface)) < 0)
        return rc;
    rc = setsockopt(s->io.fd, IPPROTO_IP, join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP, &m,
                    sizeof(m));
    return rc < 0 ? join_result(s, join, -errno) : 0;
}

int links_udp_address(links_udp *s, int peer, char *text, int *port)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    address a;
    if (s->io.fd < 0)
        return LINKS_CLOSED;
    int rc = peer ? getpeername(s->io.fd, (struct sockaddr *)&ss, &len)
                  : getsockname(s->io.fd, (struct sockaddr *)&ss, &len);
    if (rc < 0)
        return -errno;
    address_from_sockaddr(&a, &ss);
    address_format(&a, text);
    *port = a.port;
    return a.family;
}
