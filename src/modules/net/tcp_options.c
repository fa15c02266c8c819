/*
 * The options of a socket by the names that Lua has for them.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "tcp_socket.h"

/* What this system does not have. */
enum { NONE = -1 };

#if !defined(TCP_KEEPIDLE) && defined(TCP_KEEPALIVE)
#define TCP_KEEPIDLE TCP_KEEPALIVE /* macOS */
#elif !defined(TCP_KEEPIDLE)
#define TCP_KEEPIDLE NONE
#endif
#ifndef TCP_KEEPINTVL
#define TCP_KEEPINTVL NONE
#endif
#ifndef TCP_KEEPCNT
#define TCP_KEEPCNT NONE
#endif
#ifndef TCP_QUICKACK
#define TCP_QUICKACK NONE
#endif
#ifndef TCP_DEFER_ACCEPT
#define TCP_DEFER_ACCEPT NONE
#endif
#ifndef TCP_USER_TIMEOUT
#define TCP_USER_TIMEOUT NONE
#endif
#ifndef TCP_FASTOPEN_CONNECT
#define TCP_FASTOPEN_CONNECT NONE
#endif
#ifndef SO_MARK
#define SO_MARK NONE
#endif

static const struct option {
    const char *name;
    int level, id;
} options[] = {
    {"sndbuf", SOL_SOCKET, SO_SNDBUF},
    {"rcvbuf", SOL_SOCKET, SO_RCVBUF},
    {"linger", SOL_SOCKET, SO_LINGER},
    {"reuseaddr", SOL_SOCKET, SO_REUSEADDR},
    {"keepalive", SOL_SOCKET, SO_KEEPALIVE},
    {"keepidle", IPPROTO_TCP, TCP_KEEPIDLE},
    {"keepinterval", IPPROTO_TCP, TCP_KEEPINTVL},
    {"keepcount", IPPROTO_TCP, TCP_KEEPCNT},
    {"nodelay", IPPROTO_TCP, TCP_NODELAY},
    {"quickack", IPPROTO_TCP, TCP_QUICKACK},
    {"deferAccept", IPPROTO_TCP, TCP_DEFER_ACCEPT},
    {"userTimeout", IPPROTO_TCP, TCP_USER_TIMEOUT},
    {"fastOpen", IPPROTO_TCP, TCP_FASTOPEN_CONNECT},
    {"mark", SOL_SOCKET, SO_MARK},
    {"tos", IPPROTO_IP, IP_TOS},
};

static int find(const tcp *s, const char *name, const struct option **found)
{
    for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
        if (strcmp(options[i].name, name) != 0)
            continue;
        *found = &options[i];
        if (s->view.closed)
            return LINKS_CLOSED;
        return options[i].id == NONE ? LINKS_UNSUPPORTED : 0;
    }
    return LINKS_NOT_FOUND;
}

static bool is_linger(const struct option *o)
{
    return o->level == SOL_SOCKET && o->id == SO_LINGER;
}

int links_tcp_set(links_tcp *socket, const char *name, int value)
{
    const tcp *s = tcp_of(socket);
    const struct option *o;
    int rc = find(s, name, &o);
    if (rc < 0)
        return rc;
    /* Seconds that close may take in the system; -1: off. */
    struct linger linger = {.l_onoff = value >= 0, .l_linger = value};
    if (is_linger(o))
        rc = setsockopt(s->stream.io.fd, o->level, o->id, &linger, sizeof(linger));
    else
        rc = setsockopt(s->stream.io.fd, o->level, o->id, &value, sizeof(value));
    return rc < 0 ? -errno : 0;
}

int links_tcp_get(links_tcp *socket, const char *name, int *value)
{
    const tcp *s = tcp_of(socket);
    const struct option *o;
    int rc = find(s, name, &o);
    if (rc < 0)
        return rc;
    struct linger linger;
    socklen_t len = sizeof(linger);
    if (is_linger(o)) {
        rc = getsockopt(s->stream.io.fd, o->level, o->id, &linger, &len);
        if (rc == 0)
            *value = linger.l_onoff ? linger.l_linger : -1;
    } else {
        len = sizeof(*value);
        rc = getsockopt(s->stream.io.fd, o->level, o->id, value, &len);
    }
    return rc < 0 ? -errno : 0;
}
