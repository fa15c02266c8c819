#define _GNU_SOURCE /* accept4, MSG_CMSG_CLOEXEC */
#include "sock.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"

#ifdef SOCK_NONBLOCK

int sock_open(int domain, int type)
{
    return socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

int sock_accept(int fd, struct sockaddr *from, socklen_t *len)
{
    return accept4(fd, from, len, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

#else /* macOS: in two steps. What another thread starts in between inherits it. */

static int configured(int fd)
{
    if (fd < 0 || (fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0))
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

int sock_open(int domain, int type) { return configured(socket(domain, type, 0)); }

int sock_accept(int fd, struct sockaddr *from, socklen_t *len)
{
    return configured(accept(fd, from, len));
}

#endif

int sock_set(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

#if defined(TCP_KEEPIDLE)
static int set_keepidle(int fd, int s) { return sock_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, s); }
#elif defined(TCP_KEEPALIVE) /* macOS */
static int set_keepidle(int fd, int s) { return sock_set(fd, IPPROTO_TCP, TCP_KEEPALIVE, s); }
#else                        /* OpenBSD */
static int set_keepidle(int fd, int s) { return (void)fd, (void)s, LINKS_UNSUPPORTED; }
#endif

int sock_set_tcp(int fd, bool nodelay, bool keepalive, int keepidle)
{
    int rc = 0;
    if (nodelay)
        rc = sock_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (rc == 0 && keepalive)
        rc = sock_set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (rc == 0 && keepidle > 0)
        rc = set_keepidle(fd, keepidle);
    return rc;
}

/* --- descriptors that travel --------------------------------------------------------------- */

ssize_t sock_send_fd(int socket, int fd, const char *data, size_t len)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.room,
        .msg_controllen = sizeof(control.room),
    };
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    ssize_t n;
    do
        n = sendmsg(socket, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

ssize_t sock_receive_fd(int socket, void *data, size_t len, int *fd)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = data, .iov_len = len};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.room,
        .msg_controllen = sizeof(control.room),
    };
    ssize_t n;
    *fd = -1;
    do
        n = recvmsg(socket, &msg, SOCK_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
        memcpy(fd, CMSG_DATA(c), sizeof(*fd));
        if (!SOCK_CMSG_CLOEXEC)
            (void)fcntl(*fd, F_SETFD, FD_CLOEXEC);
    }
    return n;
}
