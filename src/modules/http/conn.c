#include "conn.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "access_log.h"
#include "base/mem.h"
#include "measure.h"
#include "modules/net/proxy.h"
#include "modules/tls/transport.h"
#include "server.h"

enum {
    BODY_RATE_MS = 5000,  /* a body is waited for that long before its rate counts */
    SLOW_HEAD = 1024,     /* bytes of a head that is waited for, in a buffer of its own size */
    READ_MIN = 2048,      /* less room than this at the end of the buffer: make some */
    EMPTY_LINES_MAX = 8,  /* before a request line (RFC 9112, 2.2) */
    DRAIN_MAX = 262144,   /* of a body that nobody has read, rather than closing */
    LINGER_MS = 2000,     /* for the client to read the last answer and close */
    LINGER_MAX = 1048576, /* bytes that he may send meanwhile, in one turn */
    REDIRECT = 308,       /* to TLS */
};

static http_conn *conn_of(stream *s) { return CONTAINER_OF(s, http_conn, stream); }

static int64_t now_ms(const http_conn *c) { return ev_now_ms(c->server->net->loop); }

static void set_state(http_conn *c, enum http_conn_state state)
{
    c->state = (uint8_t)state;
    c->since_ms = now_ms(c);
}

/* Wakes in any step of the turn: after the run step, the loop would sleep on what is ready. */
static void wake(const http_conn *c, waitq *q, int status)
{
    if (waitq_wake_all(q, status))
        ev_loop_again(c->server->net->loop);
}

static void wake_one(const http_conn *c, waitq *q)
{
    if (waitq_wake_one(q, 0))
        ev_loop_again(c->server->net->loop);
}

/* --- input --------------------------------------------------------------------------------- */

static void drop_input(http_conn *c)
{
    chunk_put(&c->server->net->chunks, c->in);
    c->in = NULL;
}

/* Makes room behind the input, keeping the head of the request that is there. */
static void make_room(http_conn *c)
{
    chunk *in = c->in;
    if (!in) {
        c->in = chunk_get(&c->server->net->chunks);
        return;
    }
    /* An incomplete head begins at in->start and is kept with the rest of the input; a complete
     * one lies before. */
    uint32_t keep = c->req && c->state != CONN_HEAD ? c->req->at : in->start;
    uint32_t head = c->req && c->state != CONN_HEAD ? c->req->head_len : 0;
    uint32_t rest = in->end - in->start;

    if (!rest && !head) {
        in->start = in->end = 0;
        return;
    }
    if (in->size < CHUNK_SIZE) { /* a head that goes on: see put_by */
        c->in = chunk_get(&c->server->net->chunks);
        memcpy(c->in->data, in->data + in->start, rest);
        c->in->end = rest;
        chunk_put(&c->server->net->chunks, in);
        return;
    }
    if (!rest)
        in->start = in->end = keep + head; /* the body so far has been consumed */
    if (in->size - in->end >= READ_MIN)
        return;
    if (keep + (in->start - keep - head) < in->size / 2) {
        /* Little to be won by moving: a head, or a piece of one, that fills the buffer. */
        chunk *big = chunk_new(&c->server->net->chunks, in->size * 2);
        memcpy(big->data, in->data + keep, head);
        memcpy(big->data + head, in->data + in->start, rest);
        chunk_put(&c->server->net->chunks, in);
        c->in = in = big;
    } else {
        memmove(in->data, in->data + keep, head);
        memmove(in->data + head, in->data + in->start, rest);
    }
    in->start = head;
    in->end = head + rest;
    if (c->req) {
        c->req->at = 0;
        c->req->view.url = in->data + c->req->head.url;
    }
}

/* A client may take his time for a head, or for the empty line before it, and there may be many of
 * him: the little that has come does not keep a whole buffer. */
static void put_by(http_conn *c)
{
    chunk *in = c->in;
    uint32_t have = in->end - in->start;
    if (in->size < CHUNK_SIZE || have > SLOW_HEAD)
        return;
    c->in = chunk_new(&c->server->net->chunks, SLOW_HEAD);
    memcpy(c->in->data, in->data + in->start, have);
    c->in->end = have;
    chunk_put(&c->server->net->chunks, in);
}

/* Reads once. A count; -EAGAIN; LINKS_EOF; -errno. */
ALWAYS_INLINE ssize_t fill(http_conn *c)
{
    if (!c->stream.readable)
        return -EAGAIN;
    make_room(c);
    ssize_t n = stream_read(&c->stream, c->in->data + c->in->end, c->in->size - c->in->end);
    if (n > 0) {
        c->in->end += (uint32_t)n;
        c->server->view.bytes_in += (double)n;
    }
    return n;
}

/* --- the end ------------------------------------------------------------------------------- */

static void release(ev_release *r)
{
    http_conn *c = CONTAINER_OF(r, http_conn, stream.release);
    mem_free(c);
}

/* The socket is closed and no worker has a request of ours: nothing refers to us any more. */
static void gone(http_conn *c)
{
    http_server *s = c->server;
    drop_input(c);
    ev_timer_stop(s->net->loop, &c->timer);
    list_remove(&c->link);
    ev_release_later(s->net->loop, &c->stream.release, release);
    if (!c->moved)
        http_server_forget(s);
}

/* The handler that has the request is not to go on. It is cancelled by a worker: what runs on a
 * cancel is Lua's. */
static void cut(http_request *r, int why)
{
    http_server *s = r->conn->server;
    if (r->view.cut)
        return;
    r->view.cut = (uint8_t)why;
    if (r->extra && why == LINKS_HTTP_LEFT)
        wake(r->conn, &r->extra->watchers, LINKS_EOF);
    if (why == LINKS_HTTP_LATE || s->options.cancel_on_abort) {
        list_push_back(&s->left, &r->link);
        wake_one(r->conn, &s->idle);
    }
}

void http_conn_abort(http_conn *c, int code)
{
    if (!http_conn_is_alive(c))
        return;
    http_request *r = c->req;
    stream_close(&c->stream);
    ev_timer_stop(c->server->net->loop, &c->timer);
    c->keep_alive = false;
    if (!r || r->queued || c->state != CONN_BUSY) {
        if (r) {
            c->req = NULL;
            http_request_free(r);
        }
        gone(c);
        return;
    }
    if (!r->body_error)
        r->body_error = code;
    wake(c, &r->readers, code);
    wake(c, &r->writers, code);
    cut(r, LINKS_HTTP_LEFT);
}

/* Reads what the client still sends and drops it, until he has seen our end and closes his. */
static void linger(http_conn *c)
{
    char sink[4096];
    for (size_t total = 0; c->stream.readable;) {
        ssize_t n = stream_read(&c->stream, sink, sizeof(sink));
        if (n == -EAGAIN)
            return;
        total += n > 0 ? (size_t)n : 0;
        if (n <= 0 || total > LINGER_MAX) {
            http_conn_abort(c, LINKS_CLOSED);
            return;
        }
    }
}

/* What comes after the last answer has been written. Closing a socket that has unread input makes
 * the system send a reset, which may overtake the answer: so then only our side is shut down, and
 * the client has a moment. */
static void finish_closing(http_conn *c)
{
    if (!c->linger) {
        http_conn_abort(c, LINKS_CLOSED);
        return;
    }
    stream_shutdown(&c->stream);
    set_state(c, CONN_LINGER);
    ev_timer_start(c->server->net->loop, &c->timer, LINGER_MS, 0);
    linger(c);
}

static void begin_closing(http_conn *c, bool may_have_input)
{
    c->linger = may_have_input;
    c->keep_alive = false;
    set_state(c, CONN_CLOSING);
    drop_input(c);
    if (!c->stream.out_len)
        finish_closing(c);
}

void http_conn_retire(http_conn *c)
{
    int grace = c->server->grace_ms;
    c->keep_alive = false;
    if (c->state > CONN_IDLE)
        return;
    if (!grace) {
        begin_closing(c, false);
        return;
    }
    set_state(c, c->state); /* its time begins now */
    ev_timer_start(c->server->net->loop, &c->timer, grace, 0);
}

/* --- heads --------------------------------------------------------------------------------- */

static void refuse(http_conn *c, int status)
{
    c->server->view.rejected++;
    if (http_measures)
        http_measure_refused(c, status);
    if (c->server->access)
        http_access_refused(c, status);
    if (!c->stream.out_len)
        c->wrote_ms = now_ms(c);
    if (status == REDIRECT)
        http_write_redirect(c, c->req);
    else
        http_write_refusal(c, status);
    if (c->req) {
        http_request *r = c->req;
        c->req = NULL;
        http_request_free(r);
    }
    begin_closing(c, true);
}

/* The head is complete. */
static void dispatch(http_conn *c, int len)
{
    http_request *r = c->req;
    http_head *h = &r->head;

    r->at = c->in->start;
    r->head_len = (uint32_t)len;
    c->in->start += (uint32_t)len;
    c->keep_alive = h->keep_alive && !c->server->stopped &&
                    ++c->requests != (uint32_t)c->server->options.max_requests;

    r->is_chunked = h->chunked;
    r->body_left = h->content_length > 0 ? h->content_length : 0;
    r->body_read = 0;
    r->waited_ms = r->parked_ms = 0;
    r->body_error = 0;
    r->continued = !h->expect_continue;
    r->start_ns = ev_now_ns(c->server->net->loop);
    if (http_measures)
        http_measure_begin(r);
    if (c->server->access)
        http_access_begin(r, c->server->access);
    if (r->is_chunked)
        chunked_init(&r->decoder);
    r->view = (links_http_req){
        .url = c->in->data + r->at + h->url,
        .url_len = h->url_len,
        .fields = h->nfields,
        .content_length = h->chunked ? -1 : (double)r->body_left,
        .method = h->method,
        .minor = h->minor,
        .has_body = h->chunked || r->body_left,
    };
    if ((double)r->body_left > c->server->options.max_body_size) {
        refuse(c, 413);
        return;
    }
    if (c->server->tls && !c->stream.transport && c->server->plain != LINKS_HTTP_PLAIN_SERVE) {
        refuse(c, c->server->plain == LINKS_HTTP_PLAIN_REDIRECT ? REDIRECT : 400);
        return;
    }
    set_state(c, CONN_BUSY);
    http_server_push(c->server, r);
}

/* Skips the empty lines that may stand before a request. False when more must come first, or
 * when it was refused. */
static bool skip_empty_lines(http_conn *c)
{
    chunk *in = c->in;
    while (in->end - in->start && in->data[in->start] <= '\r') {
        const char *at = in->data + in->start;
        uint32_t have = in->end - in->start;
        if (c->empty_lines == EMPTY_LINES_MAX || at[0] != '\r' || (have > 1 && at[1] != '\n')) {
            refuse(c, 400);
            return false;
        }
        if (have == 1)
            return false;
        in->start += 2;
        c->empty_lines++;
    }
    return in->end > in->start;
}

/* Parses what there is of a head. */
static void parse(http_conn *c)
{
    if (c->state == CONN_IDLE) {
        if (!skip_empty_lines(c))
            return;
        c->empty_lines = 0;
        c->req = http_request_new(c);
        set_state(c, CONN_HEAD);
    }
    int n = http_head_feed(&c->req->head, c->in->data + c->in->start, c->in->end - c->in->start);
    if (n > 0)
        dispatch(c, n);
    else if (n < 0)
        refuse(c, -n);
}

/* The client does not read his answers: he gets no more of them before he does. */
static bool is_held_up(const http_conn *c)
{
    return c->state == CONN_IDLE && c->stream.out_len > (size_t)c->server->options.high_water_mark;
}

/* Reads and parses until a request is there or nothing more has come. */
ALWAYS_INLINE void read_heads(http_conn *c)
{
    while (c->state <= CONN_HEAD && !is_held_up(c)) {
        ssize_t n = fill(c);
        if (n == -EAGAIN)
            break;
        if (n < 0) {
            /* An end in the middle of a head needs no answer: nothing has been asked. */
            http_request *r = c->req;
            c->req = NULL;
            if (r)
                http_request_free(r);
            begin_closing(c, false);
            return;
        }
        parse(c);
    }
    if (c->state == CONN_IDLE && c->in && c->in->start == c->in->end)
        drop_input(c);
    else if (c->state == CONN_HEAD || (c->state == CONN_IDLE && c->in && !is_held_up(c)))
        put_by(c);
}

/* Goes on with what has come already, and then with what comes. */
static void next_head(http_conn *c)
{
    if (is_held_up(c))
        return;
    if (c->in && c->in->start < c->in->end)
        parse(c);
    if (c->state <= CONN_HEAD)
        read_heads(c);
}

/* What follows a proxy's header is to be TLS, some of which may have been read. Whether there may
 * be something to read. */
static bool begin_tls(http_conn *c)
{
    chunk *first = c->in;
    if (first->start == first->end) {
        drop_input(c);
        first = NULL;
    } else if (first->data[first->start] >= 'A' && first->data[first->start] <= 'Z') {
        return true; /* plain HTTP */
    }
    c->in = NULL;
    tls_attach(&c->stream, c->server->tls, NULL, first);
    return tls_begin(&c->stream);
}

/* Reads the header in which a proxy tells whom it passes on; what follows is a connection like
 * any other. */
static void read_proxy(http_conn *c)
{
    ssize_t n = fill(c);
    if (n == -EAGAIN)
        return;
    proxy_header header;
    int len = n < 0 ? (int)n : proxy_parse(&header, c->in->data, c->in->end);
    if (len < 0) {
        c->server->view.rejected += n > 0;
        http_conn_abort(c, len);
        return;
    }
    if (!len)
        return;
    if (header.source.family)
        c->peer = header.source;
    c->in->start += (uint32_t)len;
    set_state(c, CONN_IDLE);
    if (!c->server->tls || begin_tls(c))
        next_head(c);
}

/* --- bodies -------------------------------------------------------------------------------- */

static bool body_is_complete(const http_request *r)
{
    return r->is_chunked ? chunked_done(&r->decoder) : r->body_left == 0;
}

/* The bytes of the body that are in the input: a count, 0 for none (yet), or a failure. */
static long body_next(http_request *r, size_t max, const char **data)
{
    chunk *in = r->conn->in;
    size_t n = in->end - in->start;

    if (!r->is_chunked) {
        if (n > max)
            n = max;
        if (n > (size_t)r->body_left)
            n = (size_t)r->body_left;
        *data = in->data + in->start;
        in->start += (uint32_t)n;
        r->body_left -= (int64_t)n;
        return (long)n;
    }
    for (;;) {
        size_t at = in->start, end = in->end;
        if (end - at > max)
            end = at + max;
        long rc = chunked_next(&r->decoder, in->data, end, &at, data);
        if (r->decoder.tail)
            http_extra_receive(r, in->data + at - r->decoder.tail, r->decoder.tail);
        in->start = (uint32_t)at;
        if (rc || chunked_done(&r->decoder) || in->start == in->end)
            return rc;
    }
}

static long body_fail(http_request *r, int code)
{
    r->body_error = code;
    r->conn->keep_alive = false;
    return code;
}

static void send_continue(http_request *r)
{
    static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
    http_conn *c = r->conn;
    if (r->continued)
        return;
    r->continued = true;
    /* RFC 9110, 10.1.1: not if the body has already begun to come, or the answer has. */
    if (c->in->start == c->in->end && !r->res.started) {
        if (!c->stream.out_len)
            c->wrote_ms = now_ms(c);
        stream_append(&c->stream, line, sizeof(line) - 1);
    }
}

/* Until when the client may stay silent; 0: as long as he likes, -1: he has been too slow. Only
 * the time counts in which he was waited for. */
static int patience(http_request *r)
{
    const links_http_options *o = &r->conn->server->options;
    int64_t now = now_ms(r->conn);
    if (r->parked_ms)
        r->waited_ms += now - r->parked_ms;
    r->parked_ms = now;
    if (!o->min_body_rate)
        return o->body_timeout;
    int64_t due = r->body_read * 1000 / o->min_body_rate;
    int64_t left = (due > BODY_RATE_MS ? due : BODY_RATE_MS) - r->waited_ms;
    if (left <= 0)
        return -1;
    if (o->body_timeout && o->body_timeout < left)
        return o->body_timeout;
    return left < INT_MAX ? (int)left : INT_MAX;
}

long http_conn_body(http_request *r, size_t max, const char **data)
{
    http_conn *c = r->conn;
    for (;;) {
        if (r->body_error)
            return r->body_error;
        if (body_is_complete(r))
            return 0;
        if (!http_conn_is_alive(c))
            return body_fail(r, LINKS_CLOSED);
        if (!waitq_empty(&r->readers))
            return -EBUSY;
        long n = body_next(r, max, data);
        if (n < 0)
            return body_fail(r, (int)n);
        if (n > 0) {
            r->body_read += n;
            if (r->parked_ms) {
                r->waited_ms += now_ms(c) - r->parked_ms;
                r->parked_ms = 0;
            }
            if ((double)r->body_read > c->server->options.max_body_size)
                return body_fail(r, LINKS_HTTP_BODY_TOO_LARGE);
            return n;
        }
        if (body_is_complete(r))
            continue;
        send_continue(r);
        ssize_t got = fill(c);
        if (got == -EAGAIN) {
            int timeout = patience(r);
            if (timeout < 0)
                return body_fail(r, -ETIMEDOUT);
            return sched_park(&r->readers, timeout, SCHED_IO, "http body");
        }
        if (got < 0)
            return body_fail(r, (int)got);
    }
}

/* Reads and drops what is left of the body of a request that has been answered. */
static void drain(http_conn *c)
{
    http_request *r = c->req;
    const char *data;
    for (;;) {
        long n = body_next(r, CHUNK_SIZE, &data);
        if (n < 0)
            break;
        r->body_read += n;
        if (r->body_read > DRAIN_MAX)
            break;
        if (body_is_complete(r)) {
            set_state(c, CONN_BUSY);
            http_conn_answered(r);
            return;
        }
        if (n > 0)
            continue;
        ssize_t got = fill(c);
        if (got == -EAGAIN)
            return;
        if (got < 0)
            break;
    }
    c->req = NULL;
    http_request_free(r);
    begin_closing(c, true);
}

/* What of the body is unread is worth reading, so that the connection can go on. */
static bool can_drain(const http_request *r)
{
    return !r->body_error && r->continued && (r->is_chunked || r->body_left <= DRAIN_MAX);
}

bool http_conn_will_close(const http_request *r)
{
    return !r->conn->keep_alive || (!body_is_complete(r) && !can_drain(r));
}

/* --- from one request to the next ---------------------------------------------------------- */

void http_conn_answered(http_request *r)
{
    http_conn *c = r->conn;
    bool complete = body_is_complete(r);
    bool go_on = !http_conn_will_close(r);

    assert(c->state == CONN_BUSY);
    if (r->measured)
        http_measure_end(r);
    if (r->access)
        http_access_log(r);
    if (http_conn_is_alive(c) && go_on && !complete) {
        waitq_wake_all(&r->readers, LINKS_CLOSED);
        http_response_reset(r);
        http_request_over(r);
        r->body_read = 0;
        set_state(c, CONN_DRAIN);
        drain(c);
        return;
    }
    c->req = NULL;
    http_request_free(r);
    if (!http_conn_is_alive(c)) {
        gone(c);
        return;
    }
    if (!go_on) {
        begin_closing(c, !complete || c->stream.readable || c->in->start < c->in->end);
        return;
    }
    set_state(c, CONN_IDLE);
    next_head(c);
}

/* What has been read beyond the head, apart from it. */
static chunk *take_rest(http_conn *c)
{
    chunk *in = c->in, *rest = NULL;
    uint32_t len = in->end - in->start;
    if (len) {
        chunk_pool *pool = &c->server->net->chunks;
        rest = len > CHUNK_SIZE ? chunk_new(pool, len) : chunk_get(pool);
        memcpy(rest->data, in->data + in->start, len);
        rest->end = len;
        in->end = in->start;
    }
    return rest;
}

void http_conn_move(http_request *r, stream *to, const stream_ops *to_ops, chunk **in, guest *g)
{
    http_conn *c = r->conn;
    assert(c->state == CONN_BUSY && http_conn_is_alive(c) && body_is_complete(r));
    *in = take_rest(c);
    stream_move(to, &c->stream, to_ops);
    ev_timer_stop(c->server->net->loop, &c->timer);
    c->keep_alive = false;
    c->moved = true;
    r->body_error = LINKS_CLOSED;
    http_server_welcome(c->server, g);
}

void http_conn_broken(http_request *r)
{
    http_conn *c = r->conn;
    c->keep_alive = false;
    c->stream.cut = true;
    c->req = NULL;
    r->res.broken = true;
    http_request_free(r);
    if (http_conn_is_alive(c))
        begin_closing(c, true);
    else
        gone(c);
}

/* --- events -------------------------------------------------------------------------------- */

static void on_readable(stream *s)
{
    http_conn *c = conn_of(s);
    switch (c->state) {
    case CONN_PROXY:
        read_proxy(c);
        break;
    case CONN_IDLE:
    case CONN_HEAD:
        read_heads(c);
        break;
    case CONN_BUSY:
        /* Not read beyond what the handler asks for: the socket's buffer is the limit. An end that
         * nobody reads is a client who leaves; one that came with the request was told of before,
         * and is a client who has nothing more to say. */
        if (!waitq_wake_one(&c->req->readers, 0) && s->hung_up && !c->req->queued)
            cut(c->req, LINKS_HTTP_LEFT);
        break;
    case CONN_DRAIN:
        drain(c);
        break;
    case CONN_CLOSING:
        break;
    default:
        linger(c);
    }
}

static void on_drained(stream *s)
{
    http_conn *c = conn_of(s);
    c->wrote_ms = now_ms(c);
    if (c->state == CONN_BUSY) {
        if (s->out_len <= (uint32_t)c->server->options.high_water_mark / 2)
            wake(c, &c->req->writers, 0);
    } else if (c->state == CONN_IDLE) {
        c->since_ms = c->wrote_ms; /* he has been answered now: see timeout_of */
        next_head(c);
    } else if (c->state == CONN_CLOSING && !s->out_len) {
        finish_closing(c);
    }
}

static void on_failed(stream *s, int code) { http_conn_abort(conn_of(s), code); }

static const stream_ops ops = {
    .readable = on_readable,
    .drained = on_drained,
    .failed = on_failed,
};

/* --- time ---------------------------------------------------------------------------------- */

/* How long the connection may stay as it is; 0: as long as it likes. */
static int timeout_of(const http_conn *c)
{
    const links_http_options *o = &c->server->options;
    switch (c->state) {
    case CONN_PROXY:
    case CONN_HEAD:
        return o->header_timeout;
    case CONN_IDLE:
        if (c->stream.out_len)
            return 0; /* not before he has all of the last answer */
        if (c->server->stopped)
            return c->server->grace_ms;
        return c->requests ? o->keep_alive_timeout : o->header_timeout;
    case CONN_BUSY: /* for a handler to begin its answer */
        return c->req->worker && !c->req->view.sent && !c->req->view.cut ? o->handler_timeout : 0;
    case CONN_DRAIN:
        return o->body_timeout;
    case CONN_LINGER:
        return LINGER_MS;
    default:
        return 0; /* what is written is looked at apart */
    }
}

static void expire(http_conn *c)
{
    if (c->state == CONN_HEAD)
        refuse(c, 408);
    else if (c->state == CONN_BUSY)
        cut(c->req, LINKS_HTTP_LATE);
    else
        http_conn_abort(c, -ETIMEDOUT);
}

/* One timer per connection, which nothing re-arms: it looks now and then what has become of the
 * connection, and comes back when that would be too old. No wait is shorter than a tick, so none
 * is found late. */
static void on_timer(ev_loop *loop, ev_timer *timer)
{
    http_conn *c = CONTAINER_OF(timer, http_conn, timer);
    int64_t now = ev_now_ms(loop), next = c->server->tick_ms;
    int timeout = timeout_of(c), write_timeout = c->server->options.write_timeout;

    if (timeout) {
        int64_t left = c->since_ms + timeout - now;
        if (left <= 0) {
            expire(c);
            if (!http_conn_is_alive(c))
                return;
        } else if (left < next) {
            next = left;
        }
    }
    if (c->stream.out_len && write_timeout) {
        int64_t left = c->wrote_ms + write_timeout - now;
        if (left <= 0) {
            http_conn_abort(c, -ETIMEDOUT);
            return;
        }
        if (left < next)
            next = left;
    }
    ev_timer_start(loop, timer, next, 0);
}

void http_conn_open(http_server *server, int fd, const address *peer)
{
    http_conn *c = mem_new(http_conn);
    c->server = server;
    c->peer = *peer;
    c->keep_alive = true;
    int rc = stream_open(&c->stream, server->net, fd, &ops);
    if (rc < 0) {
        close(fd);
        mem_free(c);
        return;
    }
    if (server->tls && !server->options.proxy_protocol) {
        tls_attach(&c->stream, server->tls, NULL, NULL);
        tls_let_plain_through(&c->stream);
    }
    ev_timer_init(&c->timer, on_timer);
    list_push_back(&server->conns, &c->link);
    server->view.connections++;
    set_state(c, server->options.proxy_protocol ? CONN_PROXY : CONN_IDLE);
    ev_timer_start(server->net->loop, &c->timer, server->tick_ms, 0);
}
