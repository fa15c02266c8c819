#include "conn.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "modules/tls/transport.h"

enum {
    LINGER_TURN_MAX = 1048576, /* bytes that the peer may send meanwhile, in one turn */
    PING_BYTES = 8,
};

static ws *ws_at(stream *s) { return CONTAINER_OF(s, ws, stream); }

/* --- the end --------------------------------------------------------------------------------- */

static void release(ev_release *r)
{
    ws *w = CONTAINER_OF(CONTAINER_OF(r, stream, release), ws, stream);
    ws_hub *hub = w->hub;
    ws_free_input(w);
    list_remove(&w->link);
    hub->free_slots[hub->nfree++] = w->view.slot;
    mem_free(w);
    ws_hub_unref(hub);
}

static void release_if_done(ws *w)
{
    if (w->gone && w->freed)
        ev_release_later(w->stream.net->loop, &w->stream.release, release);
}

static void wake_all(ws *w)
{
    bool any = waitq_wake_all(&w->readers, 0);
    any |= waitq_wake_all(&w->writers, LINKS_WS_CLOSED);
    if (any)
        ev_loop_again(w->stream.net->loop);
}

/* The descriptor is closed: nothing refers to us any more but Lua. */
static void gone(ws *w)
{
    if (w->gone)
        return;
    w->gone = true;
    w->view.closed = 1;
    ev_timer_stop(w->stream.net->loop, &w->timer);
    ws_drop_output(w);
    list_remove(&w->dirty);
    if (w->referenced)
        ev_unref(w->stream.net->loop);
    w->referenced = false;
    guest_leave(&w->guest);
    ws_hub_leave(w);
    wake_all(w);
    release_if_done(w);
}

/* Nothing more is read: who reads gets what has come, and then `code`. */
static void end_reading(ws *w, int status, int code)
{
    w->read_over = true;
    if (!w->over_code) {
        w->over_code = code;
        if (!w->view.status)
            w->view.status = status;
        w->want_end = w->hub->options.callbacks;
    }
    w->view.closed = 1;
    ws_unsubscribe_all(w);
    wake_all(w);
    ws_announce(w);
}

void ws_lose(ws *w)
{
    end_reading(w, WS_STATUS_ABNORMAL, LINKS_WS_CLOSED);
    stream_close(&w->stream);
    gone(w);
}

/* Reads what the peer still sends and drops it, until he closes. */
static void linger(ws *w)
{
    char sink[8192];
    for (size_t total = 0; w->stream.readable;) {
        ssize_t n = stream_read(&w->stream, sink, sizeof(sink));
        if (n == -EAGAIN || n == -EWOULDBLOCK)
            return;
        total += n > 0 ? (size_t)n : 0;
        if (n <= 0 || total > LINGER_TURN_MAX) {
            ws_lose(w);
            return;
        }
    }
}

static void arm(ws *w);

static void begin_ending(ws *w)
{
    if (w->ending_ms)
        return;
    w->ending_ms = ws_now(w);
    arm(w);
}

/* RFC 6455, 7.1.1: the server closes first, so that no state is left on its side; but what the
 * client has sent and nobody has read must not reset our close frame away. */
void ws_ending(ws *w)
{
    if (w->gone)
        return;
    if (!w->over_code)
        end_reading(w, WS_STATUS_ABNORMAL, LINKS_WS_CLOSED);
    begin_ending(w);
    if (w->out || w->stream.out_len)
        return;
    if (w->close_got && !w->client && !w->stream.readable) {
        ws_lose(w); /* both have said it, and nothing is left to read */
        return;
    }
    if (!w->lingering) {
        w->lingering = true;
        if (!w->client)
            stream_shutdown(&w->stream);
    }
    linger(w);
}

static void send_close(ws *w, int status, const char *reason, size_t len)
{
    uint8_t data[WS_CONTROL_MAX] = {(uint8_t)(status >> 8), (uint8_t)status};
    if (len)
        memcpy(data + 2, reason, len);
    ws_send_control(w, WS_CLOSE, data, 2 + len);
}

void ws_begin_close(ws *w, int status, const char *reason, size_t len)
{
    if (w->close_sent || !ws_is_alive(w))
        return;
    send_close(w, status, reason, len);
    w->deaf = true;
    w->view.closed = 1;
    if (waitq_wake_all(&w->writers, LINKS_WS_CLOSED))
        ev_loop_again(w->stream.net->loop);
    ws_unsubscribe_all(w);
    /* What has come and was not taken is of no interest any more; the peer's close may be
     * behind. */
    if (w->ready_message) {
        w->ready_message = w->in_place = false;
        w->big_len = 0;
    }
    begin_ending(w);
    ws_mark_dirty(w);
    w->more = true;
}

void ws_fail(ws *w, int status)
{
    w->in_place = false;
    w->big_len = 0;
    chunk_put(&w->stream.net->chunks, w->in);
    w->in = NULL;
    if (!w->close_sent)
        send_close(w, status, NULL, 0);
    end_reading(w, status, status == WS_STATUS_TOO_LARGE ? LINKS_WS_TOO_LARGE : LINKS_WS_PROTOCOL);
}

int links_ws_close(links_ws *lw, int status, const char *reason, size_t len)
{
    ws_utf8 u = {0};
    if (len > WS_CONTROL_MAX - 2 || !ws_utf8_check(&u, (const uint8_t *)reason, len, true) ||
        !ws_status_is_valid(status))
        return -EINVAL;
    ws_begin_close(ws_of(lw), status, reason, len);
    return 0;
}

void links_ws_own(links_ws *lw) { ws_of(lw)->owned = true; }

void links_ws_free(links_ws *lw)
{
    ws *w = ws_of(lw);
    if (w->freed)
        return;
    w->freed = true;
    if (!w->gone && !w->close_sent && !w->read_over)
        ws_begin_close(w, WS_STATUS_GOING_AWAY, NULL, 0);
    release_if_done(w);
}

const char *links_ws_reason(const links_ws *lw, int *len)
{
    const ws *w = (const ws *)lw;
    *len = (int)w->reason_len;
    return w->reason ? w->reason : "";
}

int links_ws_peer(const links_ws *lw, char *text, int *port)
{
    const address *peer = &((const ws *)lw)->peer;
    *port = peer->port;
    return address_format(peer, text);
}

links_tls *links_ws_tls(const links_ws *lw) { return tls_of_stream(&((const ws *)lw)->stream); }

/* --- events ---------------------------------------------------------------------------------- */

static void on_readable(stream *s)
{
    ws *w = ws_at(s);
    if (w->lingering)
        linger(w);
    else
        ws_pump(w);
}

static void on_drained(stream *s)
{
    ws *w = ws_at(s);
    if (w->out)
        ws_flush(w);
    else
        ws_drained(w);
    if (!list_empty(&w->dirty))
        ev_loop_again(s->net->loop); /* the hooks of this turn have been called */
}

static void on_writable(stream *s)
{
    if (ws_at(s)->out)
        ws_flush(ws_at(s));
}

static void on_failed(stream *s, int code)
{
    (void)code;
    ws_lose(ws_at(s));
}

const stream_ops ws_stream_ops = {
    .readable = on_readable,
    .drained = on_drained,
    .failed = on_failed,
    .writable = on_writable,
};

/* --- time ------------------------------------------------------------------------------------ */

/* We do not read because nobody takes what has come: the peer's silence says nothing then. */
static bool is_paused(const ws *w) { return w->ready_message || w->stream.readable; }

static int64_t earlier(int64_t next, int64_t at) { return !next || at < next ? at : next; }

/* Looks what is due at the next moment when something can be. */
static void arm(ws *w)
{
    const links_ws_options *o = &w->hub->options;
    int64_t next = 0;
    if (w->ending_ms) {
        if (o->close_timeout)
            next = w->ending_ms + o->close_timeout;
    } else {
        if (o->ping_interval)
            next = earlier(next, w->pinged_ms + o->ping_interval);
        if (o->idle_timeout)
            next = earlier(next, w->heard_ms + o->idle_timeout);
    }
    if (!next)
        ev_timer_stop(w->stream.net->loop, &w->timer);
    else
        ev_timer_start(w->stream.net->loop, &w->timer, next - ws_now(w), 0);
}

static void ping(ws *w)
{
    w->pinged_ms = ws_now(w);
    if (ws_buffered(w) > WS_DIRECT_MAX)
        return; /* it would be late, and say nothing about the peer */
    w->ping_ns = ev_now_ns(w->stream.net->loop);
    ws_send_control(w, WS_PING, (const uint8_t *)&w->ping_ns, PING_BYTES);
}

static void on_timer(ev_loop *loop, ev_timer *timer)
{
    (void)loop;
    ws *w = CONTAINER_OF(timer, ws, timer);
    const links_ws_options *o = &w->hub->options;
    int64_t now = ws_now(w);
    if (w->ending_ms) {
        if (o->close_timeout && now - w->ending_ms >= o->close_timeout) {
            stream_abort(&w->stream);
            ws_lose(w);
            return;
        }
    } else {
        if (is_paused(w))
            w->heard_ms = now;
        if (o->idle_timeout && now - w->heard_ms >= o->idle_timeout) {
            ws_lose(w);
            return;
        }
        if (o->ping_interval && now - w->pinged_ms >= o->ping_interval)
            ping(w);
    }
    arm(w);
}

/* --- the beginning --------------------------------------------------------------------------- */

static void retire_guest(guest *g) { ws_begin_close(g->owner, WS_STATUS_GOING_AWAY, NULL, 0); }

static void abort_guest(guest *g)
{
    ws *w = g->owner;
    stream_abort(&w->stream);
    ws_lose(w);
}

ws *ws_new(ws_hub *hub, const address *peer, bool client)
{
    static double last_id;
    ws *w = mem_new(ws);
    w->hub = hub;
    w->peer = *peer;
    w->client = client;
    w->view.id = ++last_id;
    w->view.latency = -1;
    w->guest = (guest){.owner = w, .retire = retire_guest, .abort = abort_guest};
    list_init(&w->ready);
    list_init(&w->dirty);
    list_init(&w->subs);
    waitq_init(&w->readers);
    waitq_init(&w->writers);
    ev_timer_init(&w->timer, on_timer);
    ws_hub_join(hub, w);
    return w;
}

void ws_begin(ws *w)
{
    const links_ws_options *o = &w->hub->options;
    w->view.deflate = w->deflate.on;
    /* A message that may be dropped must be none that a later one refers to. */
    if (o->on_overflow == LINKS_WS_DROP_OLD)
        w->deflate.out_context = false;
    ws_parser_init(&w->parser, !w->client, w->deflate.on,
                   o->pieces ? 0 : (uint64_t)o->max_message_size, (uint32_t)o->max_fragments);
    w->heard_ms = w->pinged_ms = ws_now(w);
    w->want_open = o->callbacks;
    ws_announce(w);
    /* What has come already, but not before Lua has the connection. */
    w->more = true;
    ws_mark_dirty(w);
    arm(w);
}
