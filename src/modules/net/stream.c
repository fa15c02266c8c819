#include "stream.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/err.h"
#include "filepart.h"
#include "transfer.h"
#include "wire.h"

/* Chunks handed to one writev: 512 KiB, more than a socket takes at once. */
enum { WRITE_CHUNKS = 32 };

/* Pieces of files that one stream writes in a turn. */
enum { WRITE_FILES = 2 };

/* Bytes of a file that a transport gets at a time. */
enum { COPY_SIZE = 131072 };

#ifndef MSG_MORE
#define MSG_MORE 0
#endif

/* --- the socket, or the transport that lies over it ------------------------------------------- */

/* One chunk, the usual case, goes by send: it costs less than the gathering call. */
ALWAYS_INLINE ssize_t transport_write(stream *s, const struct iovec *iov, int count, int flags)
{
    if (s->transport)
        return s->transport->ops->write(s->transport, s, iov, count);
    if (count == 1)
        return wire_send(s->io.fd, iov->iov_base, iov->iov_len, flags);
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count};
    ssize_t n;
    do
        n = sendmsg(s->io.fd, &msg, flags);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* --- events -------------------------------------------------------------------------------- */

static void mark_dirty(stream *s)
{
    if (list_empty(&s->dirty) && !s->held)
        list_push_back(&s->net->dirty, &s->dirty);
}

static void on_io(ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    stream *s = CONTAINER_OF(io, stream, io);

    if (events & EV_EOF)
        s->hung_up = true;
    if (events & EV_WRITE && !s->writable) {
        s->writable = true;
        if (s->out_len)
            mark_dirty(s);
        if (s->ops->writable)
            s->ops->writable(s);
    }
    if (s->transport && !s->transport->ops->event(s->transport, s, events))
        return;
    if (events & EV_READ && s->io.fd >= 0) {
        s->readable = true;
        s->ops->readable(s);
    }
}

int stream_open(stream *s, net *n, int fd, const stream_ops *ops)
{
    *s = (stream){.io = {.fd = -1}, .net = n, .ops = ops, .writable = true};
    list_init(&s->dirty);
    return ev_io_start(n->loop, &s->io, fd, on_io);
}

void stream_move(stream *to, stream *from, const stream_ops *ops)
{
    *to = *from;
    to->ops = ops;
    to->release = (ev_release){0};
    list_init(&to->dirty);
    if (!list_empty(&from->dirty)) {
        list_push_back(&from->dirty, &to->dirty);
        list_remove(&from->dirty);
    }
    for (chunk *c = to->out; c; c = c->next)
        if (filepart_is(c))
            filepart_move(c, to);
    ev_io_move(to->net->loop, &to->io, &from->io, on_io);
    from->out = from->out_last = NULL;
    from->out_len = 0;
    from->sealed = 0;
    from->transport = NULL;
    from->readable = from->writable = from->counted = false;
}

/* A process does not end while what it has written is on its way into the system. */
static void count_output(stream *s)
{
    bool waits = s->out_len > 0;
    if (waits == s->counted)
        return;
    s->counted = waits;
    if (waits)
        ev_ref(s->net->loop);
    else
        ev_unref(s->net->loop);
}

/* Takes the first chunk off the output. */
static void drop_first(stream *s)
{
    chunk *c = s->out;
    s->out = c->next;
    if (!s->out)
        s->out_last = NULL;
    if (filepart_is(c))
        filepart_drop(c);
    chunk_put(&s->net->chunks, c);
}

static void drop_output(stream *s)
{
    while (s->out)
        drop_first(s);
    s->out_len = s->sealed;
    list_remove(&s->dirty);
    count_output(s);
}

void stream_sealed(stream *s, size_t len)
{
    s->out_len += len - s->sealed;
    s->sealed = len;
    count_output(s);
}

static void close_transport(stream *s, bool clean)
{
    transport *t = s->transport;
    if (!t)
        return;
    t->ops->close(t, s, clean);
    s->transport = NULL;
    stream_sealed(s, 0);
}

void stream_close(stream *s)
{
    if (s->io.fd < 0)
        return;
    close_transport(s, !s->out_len);
    drop_output(s);
    ev_io_close(s->net->loop, &s->io);
    s->io.fd = -1;
    s->readable = s->writable = false;
}

void stream_abort(stream *s)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    if (s->io.fd >= 0) {
        (void)setsockopt(s->io.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close_transport(s, false);
    }
    stream_close(s);
}

bool stream_is_open(const stream *s) { return s->io.fd >= 0; }

/* --- in ------------------------------------------------------------------------------------ */

bool stream_is_quiet(stream *s)
{
    char byte;
    if (s->transport)
        return s->transport->ops->quiet(s->transport, s);
    ssize_t n = recv(s->io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* --- out ----------------------------------------------------------------------------------- */

static chunk *add(stream *s, chunk *c)
{
    if (s->out_last)
        s->out_last->next = c;
    else
        s->out = c;
    s->out_last = c;
    return c;
}

/* The last chunk, if it takes `len` bytes more, or a new one. */
static chunk *chunk_for(stream *s, size_t len)
{
    chunk *c = s->out_last;
    if (c && !filepart_is(c) && CHUNK_SIZE - c->end >= len)
        return c;
    return add(s, chunk_get(&s->net->chunks));
}

char *stream_reserve(stream *s, size_t len)
{
    assert(len <= CHUNK_SIZE);
    chunk *c = chunk_for(s, len);
    return c->data + c->end;
}

void stream_commit(stream *s, size_t len)
{
    s->out_last->end += (uint32_t)len;
    s->out_len += len;
    if (s->writable)
        mark_dirty(s);
    else
        count_output(s);
}

void stream_append(stream *s, const void *data, size_t len)
{
    const char *from = data;
    if (s->io.fd < 0)
        return;
    while (len) {
        chunk *c = chunk_for(s, 1);
        size_t n = CHUNK_SIZE - c->end;
        if (n > len)
            n = len;
        memcpy(c->data + c->end, from, n);
        stream_commit(s, n);
        from += n;
        len -= n;
    }
}

void stream_append_file(stream *s, shared_file *f, int64_t offset, int64_t len)
{
    if (s->io.fd < 0 || len <= 0)
        return;
    add(s, filepart_new(s, f, offset, len));
    s->out_len += (uint64_t)len;
    if (s->writable)
        mark_dirty(s);
    else
        count_output(s);
}

void stream_resume(stream *s)
{
    if (s->io.fd >= 0 && s->writable && s->out_len)
        mark_dirty(s);
}

/* Takes `n` written bytes off the front of the output. */
ALWAYS_INLINE void consume(stream *s, size_t n)
{
    s->out_len -= n;
    while (s->out && !filepart_is(s->out)) {
        chunk *c = s->out;
        size_t have = c->end - c->start;
        if (n < have) {
            c->start += (uint32_t)n;
            return;
        }
        n -= have;
        drop_first(s);
    }
}

/* Lists the output up to the next file in `iov`; returns the number of pieces, their bytes in
 * `total`, and in `next` what follows. */
ALWAYS_INLINE int gather(const stream *s, struct iovec *iov, size_t *total, chunk **next)
{
    int count = 0;
    chunk *c = s->out;
    *total = 0;
    for (; c && !filepart_is(c) && count < WRITE_CHUNKS; c = c->next) {
        if (c->end == c->start) /* reserved and not yet committed */
            continue;
        iov[count].iov_base = c->data + c->start;
        iov[count].iov_len = c->end - c->start;
        *total += iov[count++].iov_len;
    }
    *next = c;
    return count;
}

/* Writes the bytes up to the next file; MSG_MORE lets its first ones share a packet with them. */
ALWAYS_INLINE ssize_t write_bytes(stream *s)
{
    struct iovec iov[WRITE_CHUNKS];
    size_t total;
    chunk *next;
    int count = gather(s, iov, &total, &next);
    ssize_t n = transport_write(s, iov, count, MSG_NOSIGNAL | (next ? MSG_MORE : 0));
    if (n > 0)
        consume(s, (size_t)n);
    return n;
}

static ssize_t write_file(stream *s)
{
    ssize_t n = filepart_send(s->out);
    if (n > 0) {
        s->out_len -= (uint64_t)n;
        if (!filepart_left(s->out))
            drop_first(s);
    }
    return n;
}

/* Through the process, where the bytes have to be changed. */
static ssize_t copy_file(stream *s, int fd, int64_t offset, size_t len)
{
    char *data = net_scratch(s->net);
    ssize_t n = s->sealed ? transport_write(s, NULL, 0, 0) : 0;
    if (n < 0)
        return n;
    if (len > COPY_SIZE)
        len = COPY_SIZE;
    do
        n = pread(fd, data, len, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n < 0 ? -errno : 0;
    struct iovec iov = {.iov_base = data, .iov_len = (size_t)n};
    return transport_write(s, &iov, 1, 0);
}

ssize_t stream_send_file(stream *s, int fd, int64_t offset, size_t len)
{
    if (s->transport && (!s->transport->passes_files || s->sealed))
        return copy_file(s, fd, offset, len);
    return transfer_file(s->io.fd, fd, offset, len);
}

ALWAYS_INLINE void flush(stream *s)
{
    int budget = WRITE_FILES;
    ssize_t n;

    list_remove(&s->dirty);
    if (s->io.fd < 0 || !s->out_len || s->held)
        return;
    if (!s->writable) {
        count_output(s);
        return;
    }

    /* A file follows its head at once: what is kept back for it must not wait for the next turn. */
    uint64_t before = s->out_len;
    do
        n = s->out && filepart_is(s->out) ? write_file(s) : write_bytes(s);
    while (n > 0 && s->out && filepart_is(s->out) && budget-- > 0);
    if (n == -EAGAIN || n == -EWOULDBLOCK) {
        s->writable = false;
    } else if (n < 0 && n != LINKS_AGAIN) {
        s->writable = false;
        drop_output(s);
        s->ops->failed(s, (int)n);
        return;
    }
    /* A short write has filled the socket, as a rule; the next one finds out, and then room will be
     * told of. */
    if (s->out_len && n > 0)
        mark_dirty(s);
    count_output(s);
    if (s->out_len < before)
        s->ops->drained(s);
}

void stream_flush(stream *s) { flush(s); }

void stream_flush_all(list *dirty)
{
    list *l;
    while ((l = list_pop_front(dirty)))
        flush(CONTAINER_OF(l, stream, dirty));
}

ssize_t stream_writev(stream *s, const struct iovec *more, int count)
{
    struct iovec iov[WRITE_CHUNKS + STREAM_IOV_MAX];
    size_t queued;
    chunk *next;

    assert(count <= STREAM_IOV_MAX);
    if (s->io.fd < 0)
        return LINKS_CLOSED;
    if (!s->writable || (s->out && filepart_is(s->out)))
        return -EAGAIN;
    int first = gather(s, iov, &queued, &next);
    bool all = queued + s->sealed == s->out_len;
    for (int i = 0; all && i < count; i++)
        iov[first++] = more[i];
    ssize_t n = transport_write(s, iov, first, MSG_NOSIGNAL);
    if (n < 0) {
        s->writable = false;
        if (n != -EAGAIN && n != -EWOULDBLOCK)
            drop_output(s);
        return n == -EWOULDBLOCK ? -EAGAIN : n;
    }
    size_t taken = (size_t)n;
    size_t mine = taken > queued ? taken - queued : 0;
    consume(s, taken - mine);
    if (!s->out_len)
        list_remove(&s->dirty);
    count_output(s);
    return mine ? (ssize_t)mine : -EAGAIN;
}

void stream_hold(stream *s)
{
    s->held = true;
    list_remove(&s->dirty);
}

void stream_release(stream *s)
{
    s->held = false;
    if (s->out_len && s->writable)
        mark_dirty(s);
}

void stream_shutdown(stream *s)
{
    if (s->transport)
        s->transport->ops->shutdown(s->transport, s);
    else if (s->io.fd >= 0)
        (void)shutdown(s->io.fd, SHUT_WR);
}
