/*
 * Connecting: one numeric address or path at a time. Which of a name's addresses, and when, is
 * decided in lib/links/tcp/connect.lua.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sock.h"
#include "tcp_socket.h"
#include "unix.h"

int tcp_configure(int fd, const links_tcp_options *options)
{
    return sock_set_tcp(fd, options->nodelay, options->keepalive, options->keepidle);
}

/* A hint, as the listener's: where the system cannot, the connection is made as ever. */
static void ask_fast_open(int fd)
{
#ifdef TCP_FASTOPEN_CONNECT
    (void)sock_set(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
#else
    (void)fd;
#endif
}

static int bind_local(int fd, int family, const links_tcp_options *options)
{
    struct sockaddr_storage ss;
    address local;
    if (!options->local_address && !options->local_port)
        return 0;
    const char *any = family == 6 ? "::" : "0.0.0.0";
    int rc = address_parse(&local, options->local_address ? options->local_address : any,
                           options->local_port);
    if (rc < 0)
        return rc;
    if (options->local_port && (rc = sock_set(fd, SOL_SOCKET, SO_REUSEADDR, 1)) < 0)
        return rc;
    socklen_t len = address_to_sockaddr(&local, &ss);
    return bind(fd, (struct sockaddr *)&ss, len) < 0 ? -errno : 0;
}

/* The end of it is the first edge of writability, also where it was made at once. */
static int begin(links_tcp **out, int fd, const struct sockaddr *sa, socklen_t len,
                 const links_tcp_options *options)
{
    int rc = connect(fd, sa, len) < 0 ? -errno : 0;
    if (rc < 0 && rc != -EINPROGRESS && rc != -EINTR) {
        close(fd);
        return rc;
    }
    net *n = net_open(sched_loop());
    tcp *s = tcp_new(n, fd, options, &rc);
    net_close(n); /* the modules keep it open as a whole */
    if (!s)
        return rc;
    s->connecting = true;
    s->stream.writable = false;
    *out = &s->view;
    return 0;
}

int links_tcp_connect(links_tcp **out, const char *host, int port, const links_tcp_options *options)
{
    struct sockaddr_storage ss;
    address at;
    int rc = address_parse(&at, host, port);
    if (rc < 0)
        return rc;
    int fd = sock_open(at.family == 6 ? AF_INET6 : AF_INET, SOCK_STREAM);
    if (fd < 0)
        return -errno;
    rc = tcp_configure(fd, options);
    if (rc == 0)
        rc = bind_local(fd, at.family, options);
    if (options->fast_open)
        ask_fast_open(fd);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    socklen_t len = address_to_sockaddr(&at, &ss);
    rc = begin(out, fd, (struct sockaddr *)&ss, len, options);
    if (rc == 0)
        tcp_of(*out)->peer = at;
    return rc;
}

int links_unix_connect(links_tcp **out, const char *path, size_t path_len,
                       const links_tcp_options *options)
{
    struct sockaddr_un un;
    int len = unix_address(&un, path, path_len);
    if (len < 0)
        return len;
    int fd = sock_open(AF_UNIX, SOCK_STREAM);
    if (fd < 0)
        return -errno;
    int rc = begin(out, fd, (struct sockaddr *)&un, (socklen_t)len, options);
    if (rc == 0)
        tcp_of(*out)->is_unix = true;
    return rc;
}

int links_tcp_connected(links_tcp *socket, double timeout_ms)
{
    tcp *s = tcp_of(socket);
    if (s->view.closed)
        return LINKS_CLOSED;
    s->writer_woken = false;
    if (!s->connecting)
        return 0;
    if (!s->stream.writable)
        return sched_park(&s->writers, (int64_t)timeout_ms, SCHED_IO, "tcp connect");
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(s->stream.io.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error)
        return -error;
    s->connecting = false;
    s->active_ms = tcp_now(s);
    return 0;
}
