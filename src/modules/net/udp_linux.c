/*
 * Batches of datagrams by recvmmsg(2) and sendmmsg(2). Datagrams of one size to one receiver go as
 * one large piece that the system, or the network card, cuts up (UDP_SEGMENT); and such a run comes
 * in as one piece (UDP_GRO). Either is worth several times what the batch alone saves.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <string.h>

#include "udp.h"
#include "udp_batch.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
    SEGMENTS = 64,     /* of one piece: UDP_MAX_SEGMENTS of kernels before 6.9 */
    PIECE_MAX = 65507, /* bytes of one piece, which is an IP packet at first */
    UDP_LEVEL = IPPROTO_UDP,
};

/* The longest datagram that is worth trying: one that the way takes unfragmented. Less once the
 * system has refused one; 0 where it has no such thing. */
static size_t segment_max = PIECE_MAX;

/* Room for one small number. */
typedef union control {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int))];
} control;

static void prepare(struct mmsghdr *m, struct iovec *iov, const datagram *d)
{
    memset(m, 0, sizeof(*m));
    iov->iov_base = d->data;
    iov->iov_len = d->len;
    m->msg_hdr.msg_iov = iov;
    m->msg_hdr.msg_iovlen = 1;
    m->msg_hdr.msg_name = d->name_len ? (void *)&d->name : NULL;
    m->msg_hdr.msg_namelen = d->name_len;
}

/* --- receiving ----------------------------------------------------------------------------- */

void udp_offload(int fd)
{
    int on = 1;
    (void)setsockopt(fd, UDP_LEVEL, UDP_GRO, &on, sizeof(on)); /* Linux before 5.0 has none */
}

static size_t segment_of(struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        int size;
        if (c->cmsg_level != UDP_LEVEL || c->cmsg_type != UDP_GRO)
            continue;
        memcpy(&size, CMSG_DATA(c), sizeof(size));
        return size > 0 ? (size_t)size : 0;
    }
    return 0;
}

int udp_recv_batch(int fd, datagram *d, int count)
{
    struct mmsghdr messages[UDP_RECV_BATCH];
    struct iovec iov[UDP_RECV_BATCH];
    control controls[UDP_RECV_BATCH] = {0};
    for (int i = 0; i < count; i++) {
        d[i].name_len = sizeof(d[i].name);
        prepare(&messages[i], &iov[i], &d[i]);
        /* cppcheck-suppress legacyUninitvar ; the system fills it */
        messages[i].msg_hdr.msg_control = controls[i].room;
        messages[i].msg_hdr.msg_controllen = sizeof(controls[i].room);
    }
    int n;
    do
        n = recvmmsg(fd, messages, (unsigned)count, MSG_DONTWAIT, NULL);
    while (n < 0 && errno == EINTR);
    for (int i = 0; i < n; i++) {
        d[i].len = messages[i].msg_len;
        d[i].name_len = messages[i].msg_hdr.msg_namelen;
        d[i].segment = segment_of(&messages[i].msg_hdr);
    }
    return n < 0 ? -errno : n;
}

/* --- sending ------------------------------------------------------------------------------- */

static bool same_receiver(const datagram *a, const datagram *b)
{
    return a->name_len == b->name_len && memcmp(&a->name, &b->name, a->name_len) == 0;
}

/* How many of these can go as one piece: all of one size, but for the last, which may be
 * shorter. */
static int run_of(const datagram *d, int count)
{
    size_t size = d->len, total = size;
    if (!size || size > segment_max)
        return 1;
    int n = 1;
    while (n < count && n < SEGMENTS && d[n].len && d[n].len <= size &&
           total + d[n].len <= PIECE_MAX && same_receiver(d, &d[n])) {
        total += d[n].len;
        if (d[n++].len < size)
            break;
    }
    return n;
}

static void cut_up(struct msghdr *msg, control *c, size_t size)
{
    uint16_t segment = (uint16_t)size;
    memset(c, 0, sizeof(*c));
    msg->msg_control = c->room;
    msg->msg_controllen = CMSG_SPACE(sizeof(segment));
    struct cmsghdr *head = CMSG_FIRSTHDR(msg);
    head->cmsg_level = UDP_LEVEL;
    head->cmsg_type = UDP_SEGMENT;
    head->cmsg_len = CMSG_LEN(sizeof(segment));
    memcpy(CMSG_DATA(head), &segment, sizeof(segment));
}

/* How long a run's datagrams may be from now on, where it was the cutting up that the system did
 * not want: too long for the way, no such thing, or a card that cannot. */
static size_t max_after(int error, const datagram *d)
{
    if (error == EINVAL || error == EMSGSIZE)
        return d->len - 1;
    return error == EIO || error == ENOPROTOOPT || error == EOPNOTSUPP ? 0 : segment_max;
}

int udp_send_batch(int fd, const datagram *d, int count)
{
    struct mmsghdr messages[UDP_SEND_BATCH];
    struct iovec iov[UDP_SEND_BATCH];
    control controls[UDP_SEND_BATCH];
    int runs[UDP_SEND_BATCH] = {0}, n, pieces = 0;
    for (int i = 0; i < count; pieces++) {
        struct mmsghdr *m = &messages[pieces];
        int run = runs[pieces] = run_of(&d[i], count - i);
        prepare(m, &iov[i], &d[i]);
        for (int k = 1; k < run; k++) {
            iov[i + k].iov_base = d[i + k].data;
            iov[i + k].iov_len = d[i + k].len;
        }
        m->msg_hdr.msg_iovlen = (size_t)run;
        if (run > 1)
            cut_up(&m->msg_hdr, &controls[pieces], d[i].len);
        i += run;
    }
    do
        n = sendmmsg(fd, messages, (unsigned)pieces, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    size_t before = segment_max;
    if (n < 0 && pieces && runs[0] > 1 && (segment_max = max_after(errno, d)) < before) {
        n = udp_send_batch(fd, d, count);
        if (n < 0)
            segment_max = before; /* it was something else */
        return n;
    }
    int sent = 0;
    for (int i = 0; i < n; i++)
        sent += runs[i];
    return n < 0 ? -errno : sent;
}
