/*
 * Sockets as targets: a stream of lines (TCP, unix), or a datagram for each (UDP, unix), to syslog
 * and journald too. They are connected by the sink's thread when there is something to write, and
 * again after a failure; looking a name up blocks only that thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "modules/net/unix.h"
#include "target.h"

enum { SHORTENED = 1024 }; /* bytes of a datagram that was too long for the system */

typedef struct socket_target {
    log_target base; /* first */
    int kind;
    int port;
    char *path;    /* or host */
    bool mid_line; /* the former connection broke within a line */
} socket_target;

static socket_target *socket_of(log_target *t) { return (socket_target *)t; }

static void hang_up(log_target *t)
{
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
}

/* A connected socket that does not block, or -errno. */
static int connect_to(const struct sockaddr *address, socklen_t len, int type)
{
    int fd = socket(address->sa_family, type, 0), error = 0;
    socklen_t error_len = sizeof(error);
    if (fd < 0)
        return -errno;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    if (connect(fd, address, len) == 0)
        return fd;
    error = errno;
    if (error == EINPROGRESS) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        error = ETIMEDOUT;
        if (poll(&p, 1, LOG_CONNECT_MS) == 1 &&
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_len) == 0 && !error)
            return fd;
    }
    close(fd);
    return -error;
}

static int connect_by_name(const socket_target *t)
{
    char service[8];
    struct addrinfo hints = {.ai_socktype = t->kind == LINKS_LOG_TO_TCP ? SOCK_STREAM : SOCK_DGRAM,
                             .ai_flags = AI_NUMERICSERV},
                    *list, *info;
    snprintf(service, sizeof(service), "%d", t->port & 0xffff);
    int rc = getaddrinfo(t->path, service, &hints, &list);
    if (rc != 0)
        return rc == EAI_SYSTEM ? -errno : -EHOSTUNREACH;
    rc = -EHOSTUNREACH;
    for (info = list; info && rc < 0; info = info->ai_next)
        rc = connect_to(info->ai_addr, info->ai_addrlen, info->ai_socktype);
    freeaddrinfo(list);
    return rc;
}

static int connect_by_path(const socket_target *t)
{
    struct sockaddr_un un;
    int len = unix_address(&un, t->path, strlen(t->path));
    if (len < 0)
        return len;
    return connect_to((struct sockaddr *)&un, (socklen_t)len,
                      t->kind == LINKS_LOG_TO_STREAM ? SOCK_STREAM : SOCK_DGRAM);
}

static int ensure_connected(log_target *t)
{
    socket_target *s = socket_of(t);
    if (t->fd >= 0)
        return 0;
    bool named = s->kind == LINKS_LOG_TO_TCP || s->kind == LINKS_LOG_TO_UDP;
    int fd = named ? connect_by_name(s) : connect_by_path(s);
    if (fd < 0)
        return fd;
    __atomic_store_n(&t->fd, fd, __ATOMIC_RELAXED);
    return 0;
}

/* --- streams ------------------------------------------------------------------------------- */

/* The reader closed his side. Nothing is expected from it, so what comes is dropped. */
static bool is_closed(int fd)
{
    char sink[256];
    ssize_t n;
    while ((n = recv(fd, sink, sizeof(sink), MSG_DONTWAIT)) > 0)
        ;
    return n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

/* The rest of a line whose beginning went to the former connection: how many bytes to pass over. */
static size_t rest_of_line(const struct iovec iov[2], size_t len)
{
    size_t n = 0;
    for (int i = 0; i < 2 && n < len; i++) {
        const char *at = iov[i].iov_base, *end = memchr(at, '\n', iov[i].iov_len);
        if (end)
            return n + (size_t)(end + 1 - at);
        n += iov[i].iov_len;
    }
    return n;
}

static char byte_at(const struct iovec iov[2], size_t at)
{
    if (at < iov[0].iov_len)
        return ((const char *)iov[0].iov_base)[at];
    return ((const char *)iov[1].iov_base)[at - iov[0].iov_len];
}

static ssize_t stream_target_write(log_target *t, const struct iovec iov[2], size_t len)
{
    socket_target *s = socket_of(t);
    if (t->fd >= 0 && is_closed(t->fd))
        hang_up(t);
    bool anew = t->fd < 0;
    int rc = ensure_connected(t);
    if (rc < 0)
        return rc;
    if (anew && s->mid_line) {
        s->mid_line = false;
        return (ssize_t)rest_of_line(iov, len);
    }
    ssize_t n = log_await_room(t->fd);
    if (n == 0)
        n = log_write_some(t->fd, iov, len, 0);
    if (n > 0)
        s->mid_line = byte_at(iov, (size_t)n - 1) != '\n';
    else if (n != -EAGAIN)
        hang_up(t);
    return n;
}

/* --- datagrams ----------------------------------------------------------------------------- */

static int send_once(log_target *t, const char *data, size_t len)
{
    int rc = ensure_connected(t);
    if (rc < 0)
        return rc;
    for (;;) {
        if (send(t->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return 0;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS)
            return -errno;
        return log_await_room(t->fd);
    }
}

static int dgram_target_send(log_target *t, const char *data, size_t len)
{
    int rc = send_once(t, data, len);
    if (rc == -EMSGSIZE && len > SHORTENED)
        return send_once(t, data, SHORTENED);
    if (rc >= 0 || rc == -EAGAIN)
        return rc;
    /* The daemon was started again, or the error is that of a datagram before. */
    hang_up(t);
    rc = send_once(t, data, len);
    if (rc < 0 && rc != -EAGAIN)
        hang_up(t);
    return rc;
}

static int socket_reopen(log_target *t)
{
    hang_up(t);
    return 0;
}

static void socket_close(log_target *t)
{
    hang_up(t);
    mem_free(socket_of(t)->path);
    mem_free(t);
}

log_target *log_target_socket(const links_log_options *options)
{
    static const log_target_ops ops = {.write = stream_target_write,
                                       .send = dgram_target_send,
                                       .reopen = socket_reopen,
                                       .close = socket_close};
    socket_target *t = mem_new(socket_target);
    size_t len = strlen(options->path) + 1;
    t->base.ops = &ops;
    t->base.fd = -1;
    t->base.framed = options->kind == LINKS_LOG_TO_UDP || options->kind == LINKS_LOG_TO_DGRAM;
    t->kind = options->kind;
    t->port = options->port;
    t->path = memcpy(mem_alloc(len), options->path, len);
    return &t->base;
}
