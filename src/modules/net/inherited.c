#include "inherited.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/list.h"
#include "base/mem.h"
#include "unix.h"

typedef struct inherited {
    list link;
    int fd;
    int type; /* SOCK_STREAM, SOCK_DGRAM; 0 for what no server could use */
    int nth;  /* among those of its name, from 1 */
    address at;
    bool takes_v4; /* IPv6, and IPv4 too */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 4];
    int path_len; /* 0: it has none */
    char name[INHERITED_NAME];
} inherited;

static list all = {&all, &all};

/* --- what they are ---------------------------------------------------------------------------- */

static int option(int fd, int level, int name)
{
    int value = 0;
    socklen_t len = sizeof(value);
    return getsockopt(fd, level, name, &value, &len) < 0 ? -1 : value;
}

/* A connection is no place to listen at: systemd passes one where the unit says Accept=yes. */
static bool is_connected(int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    return getpeername(fd, (struct sockaddr *)&ss, &len) == 0;
}

static void look_at(inherited *i)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);
    int type = option(i->fd, SOL_SOCKET, SO_TYPE);
    if ((type != SOCK_STREAM && type != SOCK_DGRAM) || is_connected(i->fd) ||
        getsockname(i->fd, (struct sockaddr *)&ss, &len) < 0)
        return;
    i->type = type;
    address_from_sockaddr(&i->at, &ss);
    if (i->at.family == 6)
        i->takes_v4 = option(i->fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0;
    if (ss.ss_family == AF_UNIX)
        i->path_len = unix_path_of((const struct sockaddr_un *)(void *)&ss, len, i->path);
}

static int count_of(const char *name)
{
    int n = 0;
    LIST_EACH (node, &all)
        n += strcmp(CONTAINER_OF(node, inherited, link)->name, name) == 0;
    return n;
}

int inherited_add(int fd, const char *name, int nth)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    inherited *i = mem_new(inherited);
    i->fd = fd;
    snprintf(i->name, sizeof(i->name), "%s", name);
    i->nth = nth ? nth : count_of(i->name) + 1;
    look_at(i);
    list_push_back(&all, &i->link);
    return 0;
}

/* --- the environment -------------------------------------------------------------------------- */

/* A number from 0 to `max`; -1 for what is none. */
static long number_of(const char *text, long max)
{
    char *end;
    if (*text < '0' || *text > '9')
        return -1;
    errno = 0;
    long n = strtol(text, &end, 10);
    return *end || errno || n > max ? -1 : n;
}

/* The next of the names, which have colons between them; "" where there is none. */
static void next_name(const char **names, char name[INHERITED_NAME])
{
    const char *at = *names ? *names : "";
    size_t len = strcspn(at, ":");
    snprintf(name, INHERITED_NAME, "%.*s", (int)len, at);
    *names = at[len] ? at + len + 1 : NULL;
}

static int read_environment(const char *fds, const char *names, char *why, size_t size)
{
    long n = number_of(fds, INHERITED_MAX);
    if (n < 0) {
        snprintf(why, size, "LISTEN_FDS is no number from 0 to %d: %.40s", INHERITED_MAX, fds);
        return -EINVAL;
    }
    for (int i = 0; i < n; i++) {
        char name[INHERITED_NAME];
        next_name(&names, name);
        int rc = inherited_add(INHERITED_FIRST + i, name, 0);
        if (rc < 0) {
            snprintf(why, size, "LISTEN_FDS is %ld, but descriptor %d is not open", n,
                     INHERITED_FIRST + i);
            return rc;
        }
    }
    return 0;
}

int inherited_open(char *why, size_t size)
{
    int rc = 0;
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    /* They may have been meant for another process, which has passed its environment on. */
    if (fds && pid && number_of(pid, INT32_MAX) == (long)getpid())
        rc = read_environment(fds, getenv("LISTEN_FDNAMES"), why, size);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return rc;
}

/* --- taking ----------------------------------------------------------------------------------- */

static int take(inherited *i)
{
    int fd = i->fd;
    list_remove(&i->link);
    mem_free(i);
    return fd;
}

static bool is_any(const address *a)
{
    static const uint8_t none[16];
    return memcmp(a->ip, none, a->family == 6 ? 16 : 4) == 0;
}

static bool fits(const inherited *i, const address *at)
{
    if (i->at.port != at->port || !at->port)
        return false;
    if (i->at.family == at->family)
        return memcmp(i->at.ip, at->ip, at->family == 6 ? 16 : 4) == 0;
    return i->takes_v4 && is_any(&i->at) && at->family == 4 && is_any(at);
}

int inherited_at(int type, const address *at)
{
    LIST_EACH (node, &all) {
        inherited *i = CONTAINER_OF(node, inherited, link);
        if (i->type == type && i->at.family && fits(i, at))
            return take(i);
    }
    return LINKS_NOT_FOUND;
}

int inherited_path(int type, const char *path, size_t len)
{
    LIST_EACH (node, &all) {
        inherited *i = CONTAINER_OF(node, inherited, link);
        if (i->type == type && i->path_len && (size_t)i->path_len == len &&
            memcmp(i->path, path, len) == 0)
            return take(i);
    }
    return LINKS_NOT_FOUND;
}

int inherited_name(int type, const char *name, size_t len)
{
    const char *colon = memchr(name, ':', len);
    size_t name_len = colon ? (size_t)(colon - name) : len;
    int nth = 1;
    if (colon) {
        char digits[16];
        snprintf(digits, sizeof(digits), "%.*s", (int)(len - name_len - 1), colon + 1);
        nth = (int)number_of(digits, INHERITED_MAX);
    }
    LIST_EACH (node, &all) {
        inherited *i = CONTAINER_OF(node, inherited, link);
        if (i->nth != nth || strlen(i->name) != name_len || memcmp(i->name, name, name_len) != 0)
            continue;
        return i->type == type ? take(i) : -EPROTOTYPE;
    }
    return LINKS_NOT_FOUND;
}

int inherited_left(int index, const char **name, int *nth)
{
    LIST_EACH (node, &all) {
        inherited *i = CONTAINER_OF(node, inherited, link);
        if (index-- == 0) {
            *name = i->name;
            *nth = i->nth;
            return i->fd;
        }
    }
    return LINKS_NOT_FOUND;
}

const char *inherited_host(const char *host)
{
    size_t len = sizeof(INHERITED_PREFIX) - 1;
    return strncmp(host, INHERITED_PREFIX, len) == 0 ? host + len : NULL;
}

void inherited_close(void)
{
    while (!list_empty(&all))
        close(take(CONTAINER_OF(all.next, inherited, link)));
}
