/*
 * One direction of socket:pipe. It runs in the callbacks of its two sockets, without Lua: what has
 * come is sent on, and only when that is gone more is read, so a slow receiver slows the sender
 * down. It begins by copying; a flow that fills the buffer goes on through a pipe of the system's,
 * where there is splice, and is not copied at all.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "tcp_socket.h"
#include "transfer.h"

enum {
    SPLICE_FROM = 65536, /* bytes that one read has to give for a flow to be worth a pipe */
    RELAY_BUDGET = 4,    /* rounds in a row, of 1 MiB at most; then the others have their turn */
};

struct relay {
    links_tcp_relay view; /* first: Lua's pointer is ours */
    net *net;
    tcp *from, *to;
    chunk *held;    /* what has been read and not been sent */
    size_t in_pipe; /* the same, in the pipe */
    int ends[2];    /* of the pipe; -1: none */
    waitq done;
    ev_timer again;
    ev_release release;
    int status;
    bool may_splice, eof, over;
    bool muted; /* the sender, while the receiver is slow */
};

static relay *relay_of(links_tcp_relay *r) { return (relay *)r; }

/* A sender goes on until the socket's buffer is full, and each packet of his would wake the
 * loop. */
static int mute(relay *r, bool on)
{
    if (r->muted == on || !stream_is_open(&r->from->stream))
        return 0;
    r->muted = on;
    return ev_io_mute(r->net->loop, &r->from->stream.io, on);
}

static void drop(relay *r)
{
    chunk_put(&r->net->chunks, r->held);
    r->held = NULL;
    for (int i = 0; i < 2; i++) {
        if (r->ends[i] >= 0)
            close(r->ends[i]);
        r->ends[i] = -1;
    }
    ev_timer_stop(r->net->loop, &r->again);
}

void relay_end(relay *r, int code)
{
    if (r->over)
        return;
    r->over = true;
    r->status = code;
    (void)mute(r, false);
    r->from->relay_out = NULL;
    r->to->relay_in = NULL;
    /* What was not delivered can be read, but for what lies in the pipe. */
    if (r->held && !r->from->view.closed) {
        r->from->in = r->held;
        r->held = NULL;
    }
    drop(r);
    waitq_wake_all(&r->done, 0);
}

static void note(relay *r, size_t n)
{
    r->view.bytes += (double)n;
    r->to->view.bytes_written += (double)n;
    r->from->active_ms = r->to->active_ms = tcp_now(r->to);
}

/* --- out ----------------------------------------------------------------------------------- */

/* Each of these: 1 when the next step may come, 0 to wait, negative: the end. */

static int push_copied(relay *r)
{
    chunk *c = r->held;
    struct iovec iov = {.iov_base = c->data + c->start, .iov_len = c->end - c->start};
    ssize_t n = stream_writev(&r->to->stream, &iov, 1);
    if (n == -EAGAIN)
        return 0;
    if (n < 0)
        return (int)n;
    note(r, (size_t)n);
    c->start += (uint32_t)n;
    if (c->start < c->end)
        return 1;
    chunk_put(&r->net->chunks, c);
    r->held = NULL;
    return 1;
}

static int push_spliced(relay *r)
{
    ssize_t n = transfer_out(r->ends[0], r->to->stream.io.fd, r->in_pipe);
    if (n == -EAGAIN) {
        r->to->stream.writable = false;
        return 0;
    }
    if (n < 0)
        return (int)n;
    note(r, (size_t)n);
    r->in_pipe -= (size_t)n;
    return 1;
}

static int push(relay *r)
{
    int rc = 0;
    if (r->to->stream.writable)
        rc = r->held ? push_copied(r) : push_spliced(r);
    return rc == 0 ? mute(r, true) : rc;
}

/* --- in ------------------------------------------------------------------------------------ */

static int pulled(relay *r, ssize_t n)
{
    if (n == -EAGAIN || n == -EWOULDBLOCK)
        return 0;
    if (n == LINKS_EOF) {
        r->eof = true;
        r->from->read_error = LINKS_EOF;
        return 1;
    }
    if (n < 0) {
        r->from->read_error = (int)n;
        return (int)n;
    }
    r->from->view.bytes_read += (double)n;
    return 1;
}

/* Keeps what the receiver did not take. */
static void keep(relay *r, const char *data, size_t len)
{
    r->held = chunk_new(&r->net->chunks, (uint32_t)len);
    memcpy(r->held->data, data, len);
    r->held->end = (uint32_t)len;
}

/* Through the buffer that everybody has, so that a relay needs one of its own only for a receiver
 * who is slow. */
static int pull_copied(relay *r)
{
    char *data = net_scratch(r->net);
    ssize_t n = stream_read(&r->from->stream, data, NET_SCRATCH);
    int rc = pulled(r, n);
    if (n <= 0)
        return rc;
    struct iovec iov = {.iov_base = data, .iov_len = (size_t)n};
    ssize_t sent = stream_writev(&r->to->stream, &iov, 1);
    if (sent < 0 && sent != -EAGAIN)
        return (int)sent;
    if (sent > 0)
        note(r, (size_t)sent);
    else
        sent = 0;
    if (sent < n)
        keep(r, data + sent, (size_t)(n - sent));
    if (n >= SPLICE_FROM && r->may_splice && transfer_pipe_open(r->ends) < 0)
        r->may_splice = false; /* no descriptor left, or no splice: copying works too */
    return 1;
}

static int pull_spliced(relay *r)
{
    ssize_t n = transfer_in(r->from->stream.io.fd, r->ends[1]);
    if (n == -EAGAIN) {
        r->from->stream.readable = false;
        return 0;
    }
    if (n > 0)
        r->in_pipe = (size_t)n;
    return pulled(r, n == 0 ? LINKS_EOF : n);
}

static int pull(relay *r)
{
    if (r->from->read_error == LINKS_EOF) {
        r->eof = true;
        return 1;
    }
    if (r->from->read_error)
        return r->from->read_error;
    int rc = mute(r, false);
    if (rc < 0 || !r->from->stream.readable)
        return rc;
    return r->ends[0] >= 0 ? pull_spliced(r) : pull_copied(r);
}

/* --- the relay ------------------------------------------------------------------------------- */

/* One step of it. */
static int step(relay *r)
{
    if (r->held || r->in_pipe)
        return push(r);
    if (r->eof) {
        if (r->to->stream.out_len)
            return 0; /* written before the relay began; on_drained comes back */
        tcp *to = r->to;
        relay_end(r, 0);
        (void)links_tcp_shutdown(&to->view);
        return 0;
    }
    return pull(r);
}

void relay_run(relay *r)
{
    for (int i = 0; i < RELAY_BUDGET; i++) {
        int rc = step(r);
        if (rc < 0)
            relay_end(r, rc);
        if (rc <= 0)
            return;
    }
    ev_timer_start(r->net->loop, &r->again, 0, 0);
}

static void on_again(ev_loop *loop, ev_timer *timer)
{
    (void)loop;
    relay_run(CONTAINER_OF(timer, relay, again));
}

int links_tcp_relay_start(links_tcp_relay **out, links_tcp *from, links_tcp *to, int splice)
{
    tcp *a = tcp_of(from), *b = tcp_of(to);
    int rc = tcp_read_begin(a);
    if (rc < 0)
        return rc;
    if (b->view.closed)
        return LINKS_CLOSED;
    if (b->write_error)
        return b->write_error;
    if (b->ended)
        return -EPIPE;
    if (b->relay_in || b->writer_woken || !waitq_empty(&b->writers))
        return -EBUSY;
    relay *r = mem_new(relay);
    r->net = a->stream.net;
    r->from = a;
    r->to = b;
    r->ends[0] = r->ends[1] = -1;
    r->may_splice = splice && !a->stream.transport && !b->stream.transport;
    waitq_init(&r->done);
    ev_timer_init(&r->again, on_again);
    if (tcp_have(a)) {
        r->held = a->in;
        a->in = NULL;
    }
    a->relay_out = r;
    b->relay_in = r;
    stream_release(&b->stream);
    /* Not at once: the caller does not have it yet. */
    ev_timer_start(r->net->loop, &r->again, 0, 0);
    *out = &r->view;
    return 0;
}

int links_tcp_relay_wait(links_tcp_relay *lr)
{
    relay *r = relay_of(lr);
    if (r->over)
        return r->status;
    int timeout_ms = r->from->read_rest ? r->from->read_rest : r->from->read_timeout;
    r->from->read_rest = 0;
    return sched_park(&r->done, timeout_ms, SCHED_IO, "tcp pipe");
}

static void release(ev_release *release) { mem_free(CONTAINER_OF(release, relay, release)); }

void links_tcp_relay_free(links_tcp_relay *lr)
{
    relay *r = relay_of(lr);
    ev_loop *loop = r->net->loop;
    relay_end(r, LINKS_CLOSED);
    ev_release_later(loop, &r->release, release);
}
