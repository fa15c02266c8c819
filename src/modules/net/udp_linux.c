/* Batches of datagrams by recvmmsg(2) and sendmmsg(2). */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>

#include "udp.h"
#include "udp_batch.h"

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

int udp_recv_batch(int fd, datagram *d, int count)
{
    struct mmsghdr messages[UDP_RECV_BATCH];
    struct iovec iov[UDP_RECV_BATCH];
    for (int i = 0; i < count; i++) {
        d[i].name_len = sizeof(d[i].name);
        prepare(&messages[i], &iov[i], &d[i]);
    }
    int n;
    do
        n = recvmmsg(fd, messages, (unsigned)count, MSG_DONTWAIT, NULL);
    while (n < 0 && errno == EINTR);
    for (int i = 0; i < n; i++) {
        d[i].len = messages[i].msg_len;
        d[i].name_len = messages[i].msg_hdr.msg_namelen;
    }
    return n < 0 ? -errno : n;
}

int udp_send_batch(int fd, const datagram *d, int count)
{
    struct mmsghdr messages[UDP_SEND_BATCH];
    struct iovec iov[UDP_SEND_BATCH];
    for (int i = 0; i < count; i++)
        prepare(&messages[i], &iov[i], &d[i]);
    int n;
    do
        n = sendmmsg(fd, messages, (unsigned)count, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}
