/*
 * The way between a master and the one that is to take its place, a process of the new program: the
 * sockets go over it, then a word from each side. The new one reads the sockets at once and waits
 * for them; the old one goes on serving meanwhile.
 *
 * Both may be of different versions, so what is said is text in records of one size.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "lease.h"
#include "lua/sched.h"
#include "modules/net/inherited.h"
#include "modules/net/sock.h"
#include "process.h"
#include "unit.h"

enum {
    RECORD = LEASE_TEXT + 16,
    TAKE_MS = 10000, /* for all sockets to come */
    WORDS_MAX = 8,
};

#define VERSION "links 1"
#define LEASE   "lease "
#define SPARE   "spare "
#define END     "end"

struct links_handover {
    ev_io io;
    lease_place place;
    int nspares;
    bool greeted, given;
    int fault; /* what kept the sockets from going */
    char words[WORDS_MAX];
    int nwords;
    waitq waiters;
    bool over;
    ev_release release;
};

static void end(links_handover *h)
{
    if (h->over)
        return;
    h->over = true;
    ev_io_close(sched_loop(), &h->io);
    waitq_wake_all(&h->waiters, 0);
    ev_loop_again(sched_loop());
}

/* --- giving ----------------------------------------------------------------------------------- */

/* One that nobody has taken, with its name. */
static int next_spare(int index, char text[static RECORD])
{
    const char *name;
    int nth, fd = inherited_left(index, &name, &nth);
    if (fd >= 0)
        snprintf(text, RECORD, SPARE "%d %s", nth, name);
    return fd;
}

/* 0, or -errno: -EAGAIN where there is no room. */
static int send_record(int to, int fd, const char text[static RECORD])
{
    ssize_t n = fd >= 0 ? sock_send_fd(to, fd, text, RECORD) : send(to, text, RECORD, MSG_NOSIGNAL);
    if (n < 0)
        return fd >= 0 ? (int)n : -errno;
    return n == RECORD ? 0 : -EPROTO;
}

/* The next record; 1 where there was one, 0 at the end, or -errno. */
static int give_one(links_handover *h)
{
    char text[RECORD] = VERSION, what[LEASE_TEXT];
    lease_place place = h->place;
    int rc, fd;
    if (!h->greeted) {
        rc = send_record(h->io.fd, -1, text);
        h->greeted = rc == 0;
    } else if ((fd = lease_next(&place, what)) >= 0) {
        memset(text, 0, sizeof(text));
        snprintf(text, sizeof(text), LEASE "%s", what);
        rc = send_record(h->io.fd, fd, text);
        if (rc == 0)
            h->place = place;
    } else if ((fd = next_spare(h->nspares, text)) >= 0) {
        rc = send_record(h->io.fd, fd, text);
        if (rc == 0)
            h->nspares++;
    } else {
        memset(text, 0, sizeof(text));
        snprintf(text, sizeof(text), END);
        rc = send_record(h->io.fd, -1, text);
        h->given = rc == 0;
    }
    return rc < 0 ? rc : 1;
}

static void give(links_handover *h)
{
    while (!h->given && !h->over) {
        int rc = give_one(h);
        if (rc == -EAGAIN || rc == -EWOULDBLOCK)
            return;
        if (rc == -EINTR)
            continue;
        if (rc < 0) {
            /* That the other has gone is no fault of the sockets, and its end tells more. */
            h->fault = rc == -EPIPE || rc == -ECONNRESET ? 0 : rc;
            end(h);
        }
    }
}

/* --- words ------------------------------------------------------------------------------------ */

static void hear(links_handover *h)
{
    while (!h->over) {
        char word;
        ssize_t n = recv(h->io.fd, &word, 1, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0 || h->nwords == WORDS_MAX) {
            end(h);
            return;
        }
        h->words[h->nwords++] = word;
        waitq_wake_all(&h->waiters, 0);
        ev_loop_again(sched_loop());
    }
}

static void on_io(ev_loop *loop, ev_io *io, int events)
{
    links_handover *h = CONTAINER_OF(io, links_handover, io);
    (void)loop;
    if (events & EV_WRITE)
        give(h);
    hear(h);
}

int links_handover_next(links_handover *h)
{
    if (h->nwords) {
        int word = h->words[0];
        h->nwords--;
        memmove(h->words, h->words + 1, (size_t)h->nwords);
        return word;
    }
    if (h->fault)
        return h->fault;
    return h->over ? LINKS_EOF : sched_park(&h->waiters, 0, 0, "handover");
}

int links_handover_tell(links_handover *h, int word)
{
    char byte = (char)word;
    if (h->over)
        return LINKS_EOF;
    return send(h->io.fd, &byte, 1, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

static void release(ev_release *r) { mem_free(CONTAINER_OF(r, links_handover, release)); }

void links_handover_free(links_handover *h)
{
    end(h);
    ev_release_later(sched_loop(), &h->release, release);
}

static int begin(links_handover **out, int fd, bool given)
{
    links_handover *h = mem_new(links_handover);
    waitq_init(&h->waiters);
    h->given = given;
    int rc =
        fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : ev_io_start(sched_loop(), &h->io, fd, on_io);
    if (rc < 0) {
        close(fd);
        mem_free(h);
        return rc;
    }
    *out = h;
    return 0;
}

int links_handover_give(links_handover **out, int fd)
{
    int rc = begin(out, fd, false);
    if (rc == 0)
        give(*out);
    return rc;
}

/* --- taking ----------------------------------------------------------------------------------- */

static int wait_for(int fd, int64_t until_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t left = until_ms - ev_now_update(sched_loop());
    int n = left > 0 ? poll(&p, 1, (int)left) : 0;
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    return n ? 0 : -ETIMEDOUT;
}

/* A whole record, and the descriptor that came with it, or -1. */
static int read_record(int from, char text[static RECORD + 1], int *fd, int64_t until_ms)
{
    size_t have = 0;
    int rc = 0;
    *fd = -1;
    while (have < RECORD && rc == 0) {
        int more = -1;
        ssize_t n = sock_receive_fd(from, text + have, RECORD - have, &more);
        if (more >= 0)
            *fd = more;
        if (n > 0)
            have += (size_t)n;
        else if (n == 0)
            rc = LINKS_EOF;
        else if (n == -EAGAIN || n == -EWOULDBLOCK)
            rc = wait_for(from, until_ms);
        else
            rc = (int)n;
    }
    text[RECORD] = '\0';
    return rc;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static int take_spare(int fd, const char *text)
{
    int nth, at = 0;
    if (sscanf(text, "%d%n", &nth, &at) != 1 || nth < 1 || text[at] != ' ')
        return -EPROTO;
    return inherited_add(fd, text + at + 1, nth);
}

/* 1 for one, 0 at the end. */
static int take_one(int from, int64_t until_ms)
{
    char text[RECORD + 1];
    int fd, rc = read_record(from, text, &fd, until_ms);
    if (rc < 0)
        goto fail;
    if (strcmp(text, END) == 0)
        return 0;
    if (fd < 0)
        rc = strcmp(text, VERSION) == 0 ? 0 : -EPROTO;
    else if (begins(text, LEASE))
        rc = lease_restore(fd, text + strlen(LEASE));
    else if (begins(text, SPARE))
        rc = take_spare(fd, text + strlen(SPARE));
    else
        rc = -EPROTO;
    if (rc == 0)
        return 1;

fail:
    if (fd >= 0)
        close(fd);
    return rc;
}

int links_handover_take(links_handover **out)
{
    int fd = process_take_upgrade();
    if (fd < 0)
        return LINKS_NOT_FOUND;
    int rc = begin(out, fd, true);
    if (rc < 0)
        return rc;
    int64_t until_ms = ev_now_update(sched_loop()) + TAKE_MS;
    while ((rc = take_one(fd, until_ms)) > 0)
        ;
    return rc;
}
