/*
 * Writing. Small writes are collected and leave together at the end of the turn; a large one goes
 * straight from the caller's memory, as fast as the peer takes it. Several writers take turns, so
 * that what each of them writes goes out whole.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tcp_socket.h"

enum { FILE_STEP = 1048576 }; /* bytes of a file sent by one call */

/* --- turns --------------------------------------------------------------------------------- */

void tcp_wake_writer(tcp *s)
{
    if (waitq_wake_one(&s->writers, 0))
        s->writer_woken = true;
    else if (!s->writer_woken)
        waitq_wake_one(&s->turn, 0);
}

void tcp_fail_writers(tcp *s, int code)
{
    waitq_wake_all(&s->writers, code);
    waitq_wake_all(&s->turn, code);
}

int tcp_write_begin(tcp *s)
{
    if (s->view.closed)
        return LINKS_CLOSED;
    if (s->connecting)
        return -ENOTCONN;
    if (s->ended)
        return -EPIPE;
    if (s->write_error)
        return s->write_error;
    if (s->relay_in)
        return -EBUSY;
    if (!waitq_empty(&s->writers) || (s->writer_woken && s->writer != sched_current()))
        return sched_park(&s->turn, s->write_timeout, SCHED_IO, "tcp write");
    s->writer_woken = false;
    return 0;
}

int tcp_park_writer(tcp *s)
{
    int timeout_ms = s->write_rest ? s->write_rest : s->write_timeout;
    s->write_rest = 0;
    s->writer = sched_current();
    return sched_park(&s->writers, timeout_ms, SCHED_IO, "tcp write");
}

static int pass(tcp *s)
{
    s->writer = sched_current();
    s->writer_woken = sched_yield_task(s->writer);
    return LINKS_AGAIN;
}

void tcp_write_end(tcp *s)
{
    if (!waitq_empty(&s->turn))
        waitq_wake_one(&s->turn, 0);
}

void links_tcp_write_over(links_tcp *socket)
{
    tcp *s = tcp_of(socket);
    if (s->writer_woken && s->writer == sched_current())
        s->writer_woken = false;
    s->write_rest = 0;
    if (waitq_empty(&s->writers))
        tcp_write_end(s);
}

/* --- bytes --------------------------------------------------------------------------------- */

static void note_written(tcp *s, size_t n)
{
    s->view.bytes_written += (double)n;
    s->active_ms = tcp_now(s);
}

int tcp_wrote_past(tcp *s, ssize_t n)
{
    if (n == -EAGAIN) {
        s->stream.writable = false;
        return tcp_park_writer(s);
    }
    if (n > 0)
        note_written(s, (size_t)n);
    if (n == -EPIPE || n == -ECONNRESET)
        s->write_error = (int)n;
    return (int)n;
}

/* Straight from the caller's memory, behind what is queued. */
static ptrdiff_t write_through(tcp *s, const struct iovec *iov, int count)
{
    if (tcp_over_budget(s))
        return pass(s);
    ssize_t n;
    do
        n = stream_writev(&s->stream, iov, count);
    while (n == -EAGAIN && s->stream.writable);
    if (n == -EAGAIN)
        return tcp_park_writer(s);
    if (n < 0) {
        s->write_error = (int)n;
        tcp_fail_writers(s, (int)n);
        return n;
    }
    note_written(s, (size_t)n);
    return n;
}

static ptrdiff_t write_bytes(tcp *s, const struct iovec *iov, int count)
{
    ptrdiff_t rc = tcp_write_begin(s);
    if (rc < 0)
        return rc;
    size_t len = 0;
    for (int i = 0; i < count; i++)
        len += iov[i].iov_len;
    if (len <= TCP_COPY_MAX && s->stream.out_len + len <= TCP_OUTPUT_MAX) {
        for (int i = 0; i < count; i++)
            stream_append(&s->stream, iov[i].iov_base, iov[i].iov_len);
        note_written(s, len);
    } else {
        rc = write_through(s, iov, count);
        if (rc < 0)
            return rc;
        if ((size_t)rc < len)
            return rc;
    }
    tcp_write_end(s);
    return (ptrdiff_t)len;
}

ptrdiff_t tcp_fast_write(fastcall *call)
{
    if (!call->data)
        return -EINVAL;
    /* The system's type has no const; nobody writes there. */
    struct iovec iov = {.iov_base = (void *)(uintptr_t)call->data, .iov_len = call->len};
    return write_bytes(call->object, &iov, 1);
}

_Static_assert(sizeof(links_tcp_bytes) == sizeof(struct iovec) &&
                   offsetof(links_tcp_bytes, len) == offsetof(struct iovec, iov_len),
               "pieces are handed on as they are");

int links_tcp_writev(links_tcp *socket, const links_tcp_bytes *pieces, int count)
{
    assert(count <= STREAM_IOV_MAX);
    return (int)write_bytes(tcp_of(socket), (const struct iovec *)pieces, count);
}

void links_tcp_cork(links_tcp *socket, int on)
{
    tcp *s = tcp_of(socket);
    if (s->view.closed)
        return;
    if (on)
        stream_hold(&s->stream);
    else
        stream_release(&s->stream);
}

/* --- files --------------------------------------------------------------------------------- */

int links_tcp_file_size(int fd, double *size)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    if (!S_ISREG(st.st_mode))
        return -EINVAL;
    *size = (double)st.st_size;
    return 0;
}

/* Without O_NONBLOCK opening a FIFO would wait for its other end. */
int links_tcp_open_file(const char *path, double *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    int rc = links_tcp_file_size(fd, size);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return fd;
}

int tcp_flush_for(tcp *s)
{
    if (s->stream.out_len) {
        s->stream.held = false;
        stream_flush(&s->stream);
    }
    if (s->write_error)
        return s->write_error;
    if (s->stream.out_len || !s->stream.writable)
        return tcp_park_writer(s);
    return tcp_over_budget(s) ? pass(s) : 0;
}

int links_tcp_flush(links_tcp *socket)
{
    tcp *s = tcp_of(socket);
    int rc = tcp_write_begin(s);
    if (rc < 0 || !s->stream.out_len)
        return rc;
    return tcp_flush_for(s);
}

int links_tcp_send_file(links_tcp *socket, int fd, double offset, double len)
{
    tcp *s = tcp_of(socket);
    int rc = tcp_write_begin(s);
    if (rc == 0)
        rc = tcp_flush_for(s);
    if (rc < 0)
        return rc;
    ssize_t n = stream_send_file(&s->stream, fd, (int64_t)offset,
                                 len < FILE_STEP ? (size_t)len : FILE_STEP);
    return tcp_wrote_past(s, n);
}
