/*
 * Descriptors: sockets made of one, and those that travel over a Unix socket with the bytes that go
 * with them (SCM_RIGHTS). A socket that keeps them asks for them with every read, since a plain
 * read of their bytes would lose them; they wait here until somebody takes them.
 */
#define _GNU_SOURCE /* SOCK_CMSG_CLOEXEC */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "sock.h"
#include "tcp_socket.h"

enum {
    FDS_KEPT = 64, /* waiting at once; what comes beyond is closed */
    FDS_MAX = 253, /* of one message: SCM_MAX_FD of Linux */
};

struct tcp_fds {
    int fds[FDS_KEPT];
    int count;
};

/* --- sockets of descriptors ------------------------------------------------------------------ */

int tcp_check_fd(int fd)
{
    int type;
    socklen_t len = sizeof(type);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
        return -errno;
    return type == SOCK_STREAM ? 0 : -EPROTOTYPE;
}

int links_tcp_adopt(links_tcp **out, int fd, const links_tcp_options *options)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);
    int rc = tcp_check_fd(fd);
    if (rc < 0)
        return rc;
    if (getpeername(fd, (struct sockaddr *)&ss, &len) < 0)
        return -errno;
    /* A descriptor of its own: where it cannot be watched, the caller still has his. */
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return -errno;
    int flags = fcntl(own, F_GETFL);
    if (flags < 0 || fcntl(own, F_SETFL, flags | O_NONBLOCK) < 0) {
        rc = -errno;
        close(own);
        return rc;
    }
    bool is_unix = ss.ss_family == AF_UNIX;
    if (!is_unix && (rc = tcp_configure(own, options)) < 0) {
        close(own);
        return rc;
    }
    net *n = net_open(sched_loop());
    tcp *s = tcp_new(n, own, options, &rc);
    net_close(n); /* the modules keep it open as a whole */
    if (!s)
        return rc;
    s->is_unix = is_unix;
    if (!is_unix)
        address_from_sockaddr(&s->peer, &ss);
    close(fd);
    *out = &s->view;
    return 0;
}

int links_tcp_fd(links_tcp *socket)
{
    const tcp *s = tcp_of(socket);
    if (s->view.closed)
        return LINKS_CLOSED;
    return s->stream.transport ? -ENOTSUP : s->stream.io.fd;
}

int links_tcp_close_fd(int fd) { return close(fd) < 0 ? -errno : 0; }

/* --- sending --------------------------------------------------------------------------------- */

int links_tcp_send_fd(links_tcp *socket, int fd, const char *data, size_t len)
{
    tcp *s = tcp_of(socket);
    int rc = tcp_write_begin(s);
    if (rc < 0)
        return rc;
    if (!s->is_unix || s->stream.transport)
        return -ENOTSUP;
    rc = tcp_flush_for(s);
    if (rc < 0)
        return rc;
    ssize_t n = sock_send_fd(s->stream.io.fd, fd, data, len);
    return tcp_wrote_past(s, n);
}

/* --- receiving ------------------------------------------------------------------------------- */

void tcp_keep_fds(tcp *s)
{
    if (!s->fds)
        s->fds = mem_new(tcp_fds);
}

void tcp_drop_fds(tcp *s)
{
    for (int i = 0; s->fds && i < s->fds->count; i++)
        close(s->fds->fds[i]);
    mem_free(s->fds);
    s->fds = NULL;
}

static void keep(tcp_fds *kept, int fd)
{
    if (kept->count == FDS_KEPT) {
        close(fd);
        return;
    }
    if (!SOCK_CMSG_CLOEXEC)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    kept->fds[kept->count++] = fd;
}

ssize_t tcp_read_with_fds(tcp *s, void *data, size_t len)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int) * FDS_MAX)];
    } control;
    stream *st = &s->stream;
    struct iovec iov = {.iov_base = data, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;
    do {
        msg.msg_control = control.room;
        msg.msg_controllen = sizeof(control.room);
        n = recvmsg(st->io.fd, &msg, SOCK_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        st->readable = false;
        return -errno;
    }
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
            keep(s->fds, fd);
        }
    }
    /* A read ends behind bytes that had descriptors with them, however many follow: it says
     * nothing about whether there are more. */
    if (n == 0)
        st->readable = false;
    return n == 0 ? LINKS_EOF : n;
}

int links_tcp_receive_fd(links_tcp *socket)
{
    tcp *s = tcp_of(socket);
    int rc = tcp_read_begin(s);
    if (rc < 0)
        return rc;
    if (!s->fds)
        return LINKS_UNSUPPORTED;
    uint32_t limit = (uint32_t)s->view.read_buffer_size;
    while (!s->fds->count) {
        if (tcp_have(s) >= limit)
            return LINKS_EXCEED_BUF_SIZE;
        rc = tcp_fill(s, 0, limit, -1);
        if (rc < 0)
            return rc;
    }
    int fd = s->fds->fds[0];
    s->fds->count--;
    memmove(s->fds->fds, s->fds->fds + 1, (size_t)s->fds->count * sizeof(int));
    return fd;
}
