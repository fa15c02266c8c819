#include "lent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sock.h"
#include "unix.h"

enum { ANSWER_MS = 10000 }; /* a master that takes longer is stuck */

static struct {
    int fd;
    int nfree;  /* sockets with port 0 that were asked for */
    bool keeps; /* nothing is released any more */
} way = {.fd = -1};

void lent_open(int fd) { way.fd = fd; }

bool lent_active(void) { return way.fd >= 0; }

void lent_keep(void) { way.keeps = true; }

bool lent_keeps(void) { return way.keeps; }

void lent_close(void)
{
    if (way.fd >= 0)
        close(way.fd);
    way.fd = -1;
}

/* The socket does not block: the loop's other end has the same flags. */
static int wait_for(short events)
{
    struct pollfd p = {.fd = way.fd, .events = events};
    int n;
    do
        n = poll(&p, 1, ANSWER_MS);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return n ? 0 : -ETIMEDOUT;
}

static int say(const lent_request *request)
{
    const char *at = (const char *)request;
    size_t left = sizeof(*request);
    while (left) {
        ssize_t n = send(way.fd, at, left, MSG_NOSIGNAL);
        if (n > 0) {
            at += n;
            left -= (size_t)n;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            int rc = wait_for(POLLOUT);
            if (rc < 0)
                return rc;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static int hear(lent_answer *answer)
{
    size_t have = 0;
    int fd = -1, rc = 0;
    while (have < sizeof(*answer) && rc == 0) {
        int more = -1;
        ssize_t n = sock_receive_fd(way.fd, (char *)answer + have, sizeof(*answer) - have, &more);
        if (more >= 0)
            fd = more;
        if (n > 0)
            have += (size_t)n;
        else if (n == 0)
            rc = -ENOTCONN;
        else if (n == -EAGAIN || n == -EWOULDBLOCK)
            rc = wait_for(POLLIN);
        else
            rc = (int)n;
    }
    if (rc == 0)
        rc = answer->rc;
    if (rc == 0 && fd < 0)
        rc = -EPROTO;
    if (rc < 0 && fd >= 0)
        close(fd);
    return rc < 0 ? rc : fd;
}

static void begin(lent_request *request, enum lent_kind kind)
{
    memset(request, 0, sizeof(*request));
    request->magic = LENT_MAGIC;
    request->size = sizeof(*request);
    request->kind = kind;
}

static int ask(const lent_request *request, uint32_t *lease)
{
    lent_answer answer = {0};
    int rc = say(request);
    if (rc == 0)
        rc = hear(&answer);
    if (rc == -ETIMEDOUT)
        lent_close(); /* the next answer would be to this question */
    *lease = answer.lease;
    return rc;
}

int lent_tcp(const address *at, const listener_options *options, uint32_t *lease)
{
    lent_request request;
    begin(&request, LENT_TCP);
    request.at = *at;
    request.options = *options;
    request.nth = at->port ? 0 : ++way.nfree;
    return ask(&request, lease);
}

int lent_unix(const char *path, size_t len, const links_unix_options *file, uint32_t *lease)
{
    struct sockaddr_un un;
    lent_request request;
    int rc = unix_address(&un, path, len);
    if (rc < 0)
        return rc;
    begin(&request, LENT_UNIX);
    request.file = *file;
    request.path_len = (uint32_t)len;
    memcpy(request.path, path, len);
    return ask(&request, lease);
}

int lent_udp(const address *at, const links_udp_options *options, uint32_t *lease)
{
    lent_request request;
    begin(&request, LENT_UDP);
    request.at = *at;
    request.udp = *options;
    return ask(&request, lease);
}

int lent_named(int type, const char *name, uint32_t *lease)
{
    lent_request request;
    size_t len = strlen(name);
    if (len > sizeof(request.path))
        return LINKS_NOT_FOUND;
    begin(&request, LENT_NAMED);
    request.what = type;
    request.path_len = (uint32_t)len;
    memcpy(request.path, name, len);
    return ask(&request, lease);
}

int lent_memory(int workers)
{
    lent_request request;
    uint32_t lease;
    begin(&request, LENT_MEMORY);
    request.what = workers;
    return ask(&request, &lease);
}

int lent_trail(void)
{
    lent_request request;
    uint32_t lease;
    begin(&request, LENT_TRAIL);
    return ask(&request, &lease);
}

void lent_release(uint32_t lease)
{
    lent_request request;
    if (way.keeps || way.fd < 0)
        return;
    begin(&request, LENT_RELEASE);
    request.lease = lease;
    (void)say(&request); /* a master that has gone has no sockets either */
}

int lent_notice(int what)
{
    lent_request request;
    if (way.fd < 0)
        return -ENOTCONN;
    begin(&request, LENT_NOTICE);
    request.what = what;
    return say(&request);
}
