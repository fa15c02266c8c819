#include "pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "lua/sched.h"

struct links_pipe {
    ev_io io;
    ev_loop *loop;
    waitq readers, writers;
    char *buffer; /* NULL while there is nothing in it and nobody reads */
    size_t start, end;
    int failed; /* LINKS_EOF or -errno: nothing comes after what is in the buffer */
};

static void on_io(ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    links_pipe *p = CONTAINER_OF(io, links_pipe, io);
    if (events & (EV_READ | EV_EOF))
        waitq_wake_all(&p->readers, 0);
    if (events & (EV_WRITE | EV_EOF))
        waitq_wake_all(&p->writers, 0);
}

int pipe_new(links_pipe **pipe, ev_loop *loop, int fd)
{
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    links_pipe *p = mem_new(links_pipe);
    p->loop = loop;
    waitq_init(&p->readers);
    waitq_init(&p->writers);
    int rc = ev_io_start(loop, &p->io, fd, on_io);
    if (rc < 0) {
        mem_free(p);
        return rc;
    }
    *pipe = p;
    return 0;
}

static void release_buffer(links_pipe *p)
{
    mem_free(p->buffer);
    p->buffer = NULL;
    p->start = p->end = 0;
}

void links_pipe_close(links_pipe *p)
{
    if (p->io.fd < 0)
        return;
    ev_io_close(p->loop, &p->io);
    release_buffer(p);
    waitq_wake_all(&p->readers, LINKS_CLOSED);
    waitq_wake_all(&p->writers, LINKS_CLOSED);
}

void links_pipe_free(links_pipe *p)
{
    if (!p)
        return;
    links_pipe_close(p);
    mem_free(p);
}

/* --- in ------------------------------------------------------------------------------------ */

/* Adds to the buffer what the pipe has. A count, 0 where that is nothing at present, or the
 * failure. There must be room. */
static int fill(links_pipe *p)
{
    ssize_t n;
    if (p->failed)
        return p->failed;
    if (!p->buffer)
        p->buffer = mem_alloc(PIPE_BUFFER_SIZE);
    if (p->start) {
        memmove(p->buffer, p->buffer + p->start, p->end - p->start);
        p->end -= p->start;
        p->start = 0;
    }
    do
        n = read(p->io.fd, p->buffer + p->end, PIPE_BUFFER_SIZE - p->end);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        p->end += (size_t)n;
        return (int)n;
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return 0;
    return p->failed = n == 0 ? LINKS_EOF : -errno;
}

static int wait_readable(links_pipe *p)
{
    if (p->start == p->end)
        release_buffer(p);
    return sched_park(&p->readers, 0, SCHED_IO, "pipe read");
}

/* 0 where the caller may read. */
static int check_reader(const links_pipe *p)
{
    if (p->io.fd < 0)
        return LINKS_CLOSED;
    return waitq_empty(&p->readers) ? 0 : -EBUSY;
}

int links_pipe_peek(links_pipe *p)
{
    if (p->io.fd < 0)
        return LINKS_CLOSED;
    if (p->start == p->end) {
        int rc = fill(p);
        if (rc <= 0) {
            release_buffer(p);
            return rc;
        }
    }
    return (int)(p->end - p->start);
}

int links_pipe_read(links_pipe *p, size_t max, const char **data)
{
    int rc = check_reader(p);
    if (rc < 0)
        return rc;
    if (p->start == p->end) {
        p->start = p->end = 0;
        rc = fill(p);
        if (rc == 0)
            return wait_readable(p);
        if (rc < 0) {
            release_buffer(p);
            return rc;
        }
    }
    size_t n = p->end - p->start;
    if (n > max)
        n = max;
    *data = p->buffer + p->start;
    p->start += n;
    return (int)n;
}

static int take_line(links_pipe *p, size_t n, const char **data, size_t *len)
{
    *data = p->buffer + p->start;
    *len = n;
    p->start += n;
    return (int)n;
}

int links_pipe_line(links_pipe *p, const char **data, size_t *len)
{
    size_t seen = 0;
    *len = 0;
    int rc = check_reader(p);
    if (rc < 0)
        return rc;
    for (;;) {
        size_t have = p->end - p->start;
        const char *at = p->buffer ? p->buffer + p->start : NULL;
        const char *end = have > seen ? memchr(at + seen, '\n', have - seen) : NULL;
        if (end)
            return take_line(p, (size_t)(end - at) + 1, data, len);
        if (have == PIPE_BUFFER_SIZE)
            return LINKS_EXCEED_BUF_SIZE;
        seen = have;
        rc = fill(p);
        if (rc == 0)
            return wait_readable(p);
        if (rc < 0) {
            if (have)
                take_line(p, have, data, len);
            return rc;
        }
    }
}

/* --- out ----------------------------------------------------------------------------------- */

int links_pipe_write(links_pipe *p, const char *data, size_t len)
{
    enum { AT_ONCE = 1 << 30 };
    ssize_t n;
    if (p->io.fd < 0)
        return LINKS_CLOSED;
    if (!waitq_empty(&p->writers))
        return -EBUSY;
    do
        n = write(p->io.fd, data, len < AT_ONCE ? len : AT_ONCE);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return (int)n;
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return sched_park(&p->writers, 0, SCHED_IO, "pipe write");
    return -errno;
}
