/*
 * Reading. Input comes in pooled chunks and is asked for in pieces: so many bytes, a line, up to a
 * separator. A socket holds a chunk only while there is something in it that nobody has taken.
 */
#define _GNU_SOURCE /* memmem */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "tcp_socket.h"

/* --- who reads ----------------------------------------------------------------------------- */

/* A reader is at it from its call until it is answered: parked, or woken and about to run. */
int tcp_read_begin(tcp *s)
{
    if (s->view.closed)
        return LINKS_CLOSED;
    if (s->relay_out || !waitq_empty(&s->readers))
        return -EBUSY;
    bool goes_on = s->reader_woken && s->reader == sched_current();
    if (s->reader_woken && !goes_on)
        return -EBUSY;
    if (!goes_on)
        s->scanned = 0;
    s->reader_woken = false;
    return 0;
}

void tcp_wake_reader(tcp *s)
{
    if (waitq_wake_one(&s->readers, 0))
        s->reader_woken = true;
}

static int park(tcp *s, int timeout_ms)
{
    if (s->in && s->in->start == s->in->end) {
        chunk_put(&s->stream.net->chunks, s->in);
        s->in = NULL;
    }
    if (timeout_ms < 0)
        timeout_ms = s->read_rest ? s->read_rest : s->read_timeout;
    s->read_rest = 0;
    s->reader = sched_current();
    return sched_park(&s->readers, timeout_ms, s->unrefd ? 0 : SCHED_IO, "tcp read");
}

/* Who waits already waits anew, the other way. */
void links_tcp_ref(links_tcp *socket, int on)
{
    tcp *s = tcp_of(socket);
    if (s->unrefd == !on)
        return;
    s->unrefd = !on;
    tcp_wake_reader(s);
}

/* Lets the others run and the loop look around; what comes then is the same call again. */
static int pass(tcp *s)
{
    s->reader = sched_current();
    s->reader_woken = sched_yield_task(s->reader);
    return LINKS_AGAIN;
}

static ssize_t read_bytes(tcp *s, void *data, size_t len)
{
    bool keeps = s->fds && !s->stream.transport;
    return keeps ? tcp_read_with_fds(s, data, len) : stream_read(&s->stream, data, len);
}

/* --- the buffer ---------------------------------------------------------------------------- */

/* A larger buffer with the same input. */
static void grow(tcp *s, uint32_t size)
{
    chunk *in = s->in, *big = chunk_new(&s->stream.net->chunks, size);
    big->end = tcp_have(s);
    memcpy(big->data, in->data + in->start, big->end);
    chunk_put(&s->stream.net->chunks, in);
    s->in = big;
}

/* Makes room behind the input. What a peer has only announced is not allocated: a chunk first, and
 * more when that has filled. */
static void make_room(tcp *s, uint32_t want, uint32_t limit)
{
    chunk *in = s->in;
    if (!in) {
        s->in = chunk_get(&s->stream.net->chunks);
        return;
    }
    uint32_t have = tcp_have(s);
    if (in->end < in->size && in->start + want <= in->size)
        return;
    if (in->start && (want <= in->size || have <= in->size / 2)) {
        memmove(in->data, in->data + in->start, have);
        in->start = 0;
        in->end = have;
    }
    if (in->end < in->size)
        return;
    uint64_t size = (uint64_t)in->size * 2;
    if (size < want)
        size = want;
    grow(s, size < limit ? (uint32_t)size : limit);
}

int tcp_fill(tcp *s, uint32_t want, uint32_t limit, int timeout_ms)
{
    if (s->read_error)
        return s->read_error;
    if (!s->stream.readable)
        return park(s, timeout_ms);
    if (tcp_over_budget(s))
        return pass(s);
    make_room(s, want, limit);
    chunk *in = s->in;
    uint32_t room = in->size - in->end, have = tcp_have(s);
    if (room > limit - have)
        room = limit - have;
    ssize_t n = read_bytes(s, in->data + in->end, room);
    if (n == -EAGAIN || n == -EWOULDBLOCK)
        return park(s, timeout_ms);
    if (n < 0) {
        s->read_error = (int)n;
        return (int)n;
    }
    in->end += (uint32_t)n;
    s->view.bytes_read += (double)n;
    s->active_ms = tcp_now(s);
    return (int)n;
}

const char *tcp_consume(tcp *s, uint32_t n)
{
    chunk *in = s->in;
    if (!in)
        return "";
    const char *data = in->data + in->start;
    in->start += n;
    s->scanned = 0;
    if (in->start == in->end) {
        s->in = NULL;
        net_lend(s->stream.net, in);
    }
    return data;
}

/* --- what each message calls ---------------------------------------------------------------- */

/* Whole, and not so large that a double would not hold it exactly. */
static bool is_count(const fastcall *call, double min)
{
    double n = call->number;
    return !call->data && n >= min && n <= 9007199254740992.0 && n == (double)(uint64_t)n;
}

ptrdiff_t tcp_fast_read(fastcall *call)
{
    tcp *s = call->object;
    if (!is_count(call, 0))
        return -EINVAL;
    int rc = tcp_read_begin(s);
    if (rc < 0)
        return rc;
    uint32_t limit = (uint32_t)s->view.read_buffer_size;
    if (call->number > limit)
        return LINKS_TOO_LARGE;
    uint32_t n = (uint32_t)call->number;
    while (tcp_have(s) < n) {
        rc = tcp_fill(s, n, limit, -1);
        if (rc < 0)
            return rc;
    }
    call->out = tcp_consume(s, n);
    return n;
}

ptrdiff_t tcp_fast_read_some(fastcall *call)
{
    tcp *s = call->object;
    if (!is_count(call, 1))
        return -EINVAL;
    int rc = tcp_read_begin(s);
    if (rc < 0)
        return rc;
    uint32_t limit = (uint32_t)s->view.read_buffer_size;
    uint32_t max = call->number < limit ? (uint32_t)call->number : limit;
    if (!tcp_have(s)) {
        /* All that the caller would take is read in one go. */
        if (max > CHUNK_SIZE && s->stream.readable && !s->in && !s->read_error)
            s->in = chunk_new(&s->stream.net->chunks, max);
        rc = tcp_fill(s, max, limit, -1);
        if (rc < 0)
            return rc;
    }
    uint32_t n = tcp_have(s) < max ? tcp_have(s) : max;
    call->out = tcp_consume(s, n);
    return n;
}

ptrdiff_t tcp_fast_read_line(fastcall *call)
{
    tcp *s = call->object;
    int rc = tcp_read_begin(s);
    if (rc < 0)
        return rc;
    uint32_t limit = (uint32_t)s->view.read_buffer_size;
    const char *begin, *lf;
    for (;;) {
        uint32_t have = tcp_have(s);
        begin = s->in ? s->in->data + s->in->start : "";
        lf = memchr(begin + s->scanned, '\n', have - s->scanned);
        if (lf)
            break;
        s->scanned = have;
        if (have >= limit)
            return LINKS_EXCEED_BUF_SIZE;
        rc = tcp_fill(s, 0, limit, -1);
        if (rc < 0)
            return rc;
    }
    uint32_t whole = (uint32_t)(lf + 1 - begin), len = whole;
    if (call->number == 0)
        len -= len > 1 && lf[-1] == '\r' ? 2 : 1;
    call->out = tcp_consume(s, whole);
    return len;
}

/* --- the others ---------------------------------------------------------------------------- */

int links_tcp_peek(links_tcp *socket, int n, const char **data)
{
    tcp *s = tcp_of(socket);
    int rc = tcp_read_begin(s);
    if (rc < 0)
        return rc;
    uint32_t limit = (uint32_t)s->view.read_buffer_size;
    if ((uint32_t)n > limit)
        return LINKS_EXCEED_BUF_SIZE;
    while (tcp_have(s) < (uint32_t)n) {
        rc = tcp_fill(s, (uint32_t)n, limit, -1);
        if (rc < 0)
            return rc;
    }
    *data = s->in ? s->in->data + s->in->start : "";
    return n;
}

/* What is in the buffer first; then straight from the socket, without a copy. */
int links_tcp_read_into(links_tcp *socket, void *to, size_t n)
{
    tcp *s = tcp_of(socket);
    int rc = tcp_read_begin(s);
    if (rc < 0)
        return rc;
    if (n > INT32_MAX)
        n = INT32_MAX;
    uint32_t have = tcp_have(s);
    if (have) {
        if (n > have)
            n = have;
        memcpy(to, tcp_consume(s, (uint32_t)n), n);
        return (int)n;
    }
    if (s->read_error)
        return s->read_error;
    if (!s->stream.readable)
        return park(s, -1);
    if (tcp_over_budget(s))
        return pass(s);
    ssize_t got = read_bytes(s, to, n);
    if (got == -EAGAIN || got == -EWOULDBLOCK)
        return park(s, -1);
    if (got < 0) {
        s->read_error = (int)got;
        return (int)got;
    }
    s->view.bytes_read += (double)got;
    s->active_ms = tcp_now(s);
    return (int)got;
}

int links_tcp_read_until(links_tcp *socket, const char *sep, size_t sep_len, int max, int keep,
                         const char **data)
{
    tcp *s = tcp_of(socket);
    int rc = tcp_read_begin(s);
    if (rc < 0)
        return rc;
    for (;;) {
        uint32_t have = tcp_have(s), look = have < (uint32_t)max ? have : (uint32_t)max;
        if (look > s->scanned && look - s->scanned >= sep_len) {
            const char *begin = s->in->data + s->in->start;
            const char *at = memmem(begin + s->scanned, look - s->scanned, sep, sep_len);
            if (at) {
                uint32_t len = (uint32_t)(at - begin);
                *data = tcp_consume(s, len + (uint32_t)sep_len);
                return (int)(keep ? len + sep_len : len);
            }
            /* The end of it may be the beginning of a separator. */
            s->scanned = look - (uint32_t)sep_len + 1;
        }
        if (have >= (uint32_t)max)
            return LINKS_EXCEED_BUF_SIZE;
        rc = tcp_fill(s, 0, (uint32_t)max, -1);
        if (rc < 0)
            return rc;
    }
}

int links_tcp_quiet(links_tcp *socket)
{
    tcp *s = tcp_of(socket);
    if (s->view.closed || s->ended || s->read_error || s->write_error || tcp_have(s))
        return 0;
    return stream_is_quiet(&s->stream);
}

int links_tcp_left(links_tcp *socket)
{
    tcp *s = tcp_of(socket);
    struct pollfd peer = {.fd = s->stream.io.fd};
    if (s->view.closed || s->write_error)
        return 1;
    return poll(&peer, 1, 0) == 1 && (peer.revents & (POLLHUP | POLLERR));
}

ptrdiff_t tcp_fast_take(fastcall *call)
{
    tcp *s = call->object;
    /* Somebody else has begun to read meanwhile: it is his now. */
    bool others = !waitq_empty(&s->readers) || (s->reader_woken && s->reader != sched_current());
    if (s->view.closed || others)
        return 0;
    s->reader_woken = false;
    s->read_rest = 0;
    uint32_t n = tcp_have(s);
    if (n > call->number)
        n = (uint32_t)call->number;
    if (n)
        call->out = tcp_consume(s, n);
    return n;
}
