/*
 * Reading: bytes become messages, as far as somebody takes them.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "conn.h"
#include "lua/fastcall.h"

enum {
    READ_MIN = 2048, /* less room than this at the end of the chunk: make some */
    BIG_FIRST = 32768,
    QUEUE_OVERHEAD = 64, /* counted for each message that is put aside, besides its bytes */
    NOT_LAST = 16,       /* in a kind that Lua gets */
    PING_BYTES = 8,
};

_Static_assert((int)WS_FRAME_MIN < (int)READ_MIN, "an incomplete control frame has to fit");

static chunk_pool *pool_of(const ws *w) { return &w->stream.net->chunks; }

/* The memory of the message that was taken last: it stays until the next one is. */
static void *lent;

static void lend(void *memory)
{
    mem_free(lent);
    lent = memory;
}

void ws_read_close(void) { lend(NULL); }

/* --- putting a message together -------------------------------------------------------------- */

static void grow(ws *w, size_t need)
{
    if (need <= w->big_size)
        return;
    size_t size = w->big_size ? w->big_size * 2 : BIG_FIRST;
    w->big_size = size > need ? size : need;
    w->big = mem_realloc(w->big, w->big_size);
}

static void append(ws *w, const void *data, size_t len)
{
    grow(w, w->big_len + len);
    memcpy(w->big + w->big_len, data, len);
    w->big_len += len;
}

/* What has come of the message leaves the chunk. */
static void move_out(ws *w)
{
    if (!w->in_place)
        return;
    w->in_place = false;
    append(w, w->in->data + w->at, w->place_len);
}

static int inflate_piece(ws *w, const ws_piece *p)
{
    size_t before = w->big_len;
    int rc = ws_inflate(&w->inflater, w->deflate.in_context, p->data, p->len, p->ends, &w->big,
                        &w->big_len, &w->big_size, (size_t)w->hub->options.max_message_size);
    if (rc < 0)
        return rc;
    if (p->opcode == WS_TEXT &&
        !ws_utf8_check(&w->parser.utf8, (uint8_t *)w->big + before, w->big_len - before, p->ends))
        return -WS_STATUS_INVALID;
    return 0;
}

/* Bytes that are in the chunk stay there if they follow those before. */
static void keep(ws *w, const ws_piece *p)
{
    const char *data = (const char *)p->data;
    if (!p->len)
        return;
    if (!w->in_place && !w->big_len) {
        w->in_place = true;
        w->at = (uint32_t)(data - w->in->data);
        w->place_len = (uint32_t)p->len;
    } else if (w->in_place && w->in->data + w->at + w->place_len == data) {
        w->place_len += (uint32_t)p->len;
    } else {
        move_out(w);
        append(w, data, p->len);
    }
}

/* One more in this second is not too many. */
static bool is_within_rate(ws *w)
{
    uint32_t limit = (uint32_t)w->hub->options.max_message_rate;
    uint32_t second = (uint32_t)(ws_now(w) / 1000);
    if (!limit)
        return true;
    if (w->rate_second != second) {
        w->rate_second = second;
        w->rate_count = 0;
    }
    return ++w->rate_count <= limit;
}

/* 1 where a message, or a piece of one that is wanted as it comes, is ready. */
static int finish_piece(ws *w, const ws_piece *p)
{
    size_t have = w->in_place ? w->place_len : w->big_len;
    if (!p->ends && !(w->hub->options.pieces && have))
        return 0;
    w->last = p->ends;
    if (p->ends)
        ws_counts.received++;
    if (w->deaf) {
        w->in_place = false;
        w->big_len = 0;
        return 0;
    }
    w->ready_message = true;
    return 1;
}

static int begin_piece(ws *w, const ws_piece *p)
{
    if (!p->begins)
        return 0;
    w->kind = p->opcode;
    return is_within_rate(w) ? 0 : -WS_STATUS_POLICY;
}

static int collect(ws *w, const ws_piece *p)
{
    int rc = begin_piece(w, p);
    if (rc == 0 && p->compressed)
        rc = inflate_piece(w, p);
    else if (rc == 0)
        keep(w, p);
    return rc < 0 ? rc : finish_piece(w, p);
}

/* --- control frames -------------------------------------------------------------------------- */

static void pong(ws *w, const ws_piece *p)
{
    uint64_t sent;
    if (!w->ping_ns || p->len != PING_BYTES)
        return;
    memcpy(&sent, p->data, PING_BYTES);
    if (sent != w->ping_ns)
        return;
    w->view.latency = (double)(ev_now_ns(w->stream.net->loop) - sent) / 1e6;
    w->ping_ns = 0;
}

static int close_frame(ws *w, const ws_piece *p)
{
    int status = ws_close_status(p->data, p->len);
    if (status < 0)
        return status;
    w->view.status = status;
    if (p->len > 2) {
        w->reason_len = (uint32_t)p->len - 2;
        w->reason = mem_alloc(w->reason_len);
        memcpy(w->reason, p->data + 2, w->reason_len);
    }
    w->read_over = w->close_got = true;
    if (!w->close_sent)
        ws_send_control(w, WS_CLOSE, p->data, p->len >= 2 ? 2 : 0);
    return 0;
}

static int control(ws *w, const ws_piece *p)
{
    switch (p->opcode) {
    case WS_PING:
        /* Who sends pings and does not read is not answered without end. */
        if (!w->close_sent && ws_buffered(w) <= WS_DIRECT_MAX)
            ws_send_control(w, WS_PONG, p->data, p->len);
        return 0;
    case WS_PONG:
        pong(w, p);
        return 0;
    default:
        return close_frame(w, p);
    }
}

/* --- bytes ----------------------------------------------------------------------------------- */

/* Parses what there is: 1 for a message, 0 where more has to come or reading is over, or the
 * negative status to close with. */
static int parse(ws *w)
{
    chunk *in = w->in;
    while (in && in->start < in->end && !w->read_over) {
        size_t at = in->start;
        ws_piece p;
        int rc = ws_parse(&w->parser, (uint8_t *)in->data, in->end, &at, &p);
        in->start = (uint32_t)at;
        if (rc == WS_CONTROL)
            rc = control(w, &p);
        else if (rc == WS_PIECE)
            rc = collect(w, &p);
        else
            return rc;
        if (rc)
            return rc;
    }
    return 0;
}

static void move_down(chunk *in, uint32_t from)
{
    memmove(in->data, in->data + from, in->end - from);
    in->start -= from;
    in->end -= from;
}

/* Makes room in the chunk, keeping the message that is in it and what is not yet parsed. */
static void make_room(ws *w)
{
    if (!w->in)
        w->in = chunk_get(pool_of(w));
    chunk *in = w->in;
    if (!w->in_place && in->start == in->end)
        in->start = in->end = 0;
    if (in->size - in->end >= READ_MIN)
        return;
    uint32_t from = w->in_place ? w->at : in->start;
    if (in->size - (in->end - from) < READ_MIN) {
        move_out(w);
        from = in->start;
    }
    move_down(in, from);
    if (w->in_place)
        w->at = 0;
}

static ssize_t heard(ws *w, ssize_t n)
{
    if (n > 0) {
        w->heard_ms = ws_now(w);
        ws_counts.received_bytes += (double)n;
    }
    return n;
}

/* Large payloads go to their place without passing through the chunk. */
static bool is_direct(const ws *w)
{
    const ws_parser *p = &w->parser;
    return p->in_frame && !p->compressed && !w->in_place && p->left > CHUNK_SIZE / 2 &&
           (!w->in || w->in->start == w->in->end) && !w->hub->options.pieces;
}

static int read_direct(ws *w)
{
    size_t room = w->big_len < BIG_FIRST ? BIG_FIRST : w->big_len, at = 0;
    ws_piece p;
    if (room > w->parser.left)
        room = (size_t)w->parser.left;
    grow(w, w->big_len + room);
    uint8_t *to = (uint8_t *)w->big + w->big_len;
    ssize_t n = heard(w, stream_read(&w->stream, to, room));
    if (n <= 0)
        return (int)n;
    int rc = ws_parse(&w->parser, to, (size_t)n, &at, &p);
    if (rc > 0)
        rc = begin_piece(w, &p);
    if (rc < 0) {
        ws_fail(w, -rc);
        return -EAGAIN;
    }
    w->big_len += (size_t)n;
    finish_piece(w, &p);
    return (int)n;
}

/* Reads once: a count, -EAGAIN, LINKS_EOF, -errno. */
static int fill(ws *w)
{
    if (!w->stream.readable)
        return -EAGAIN;
    if (is_direct(w))
        return read_direct(w);
    make_room(w);
    chunk *in = w->in;
    ssize_t n = heard(w, stream_read(&w->stream, in->data + in->end, in->size - in->end));
    if (n > 0)
        in->end += (uint32_t)n;
    return (int)n;
}

/* --- putting aside --------------------------------------------------------------------------- */

/* Nobody is about to take the message that is ready, and there is room for it elsewhere. */
static bool can_put_aside(const ws *w)
{
    size_t len = w->in_place ? w->place_len : w->big_len;
    bool waits = w->hub->options.callbacks ? w->busy && !w->hub->options.per_message_task
                                           : waitq_empty(&w->readers) && !w->reader_woken;
    return waits && w->queue_bytes + len + QUEUE_OVERHEAD <= WS_AHEAD_MAX;
}

static int lua_kind(const ws *w) { return w->kind | (w->last ? 0 : NOT_LAST); }

static const char *ready_bytes(const ws *w, size_t *len)
{
    *len = w->in_place ? w->place_len : w->big_len;
    return w->in_place ? w->in->data + w->at : w->big_len ? w->big : "";
}

static void put_aside(ws *w)
{
    size_t len;
    const char *data = ready_bytes(w, &len);
    ws_message *m = mem_alloc(sizeof(*m) + len);
    m->next = NULL;
    m->len = len;
    m->kind = lua_kind(w);
    memcpy(m->data, data, len);
    if (w->queue_last)
        w->queue_last->next = m;
    else
        w->queue = m;
    w->queue_last = m;
    w->queue_bytes += len + QUEUE_OVERHEAD;
    w->ready_message = w->in_place = false;
    w->big_len = 0;
}

bool ws_take(ws *w, const char **data, size_t *len, int *kind)
{
    ws_message *m = w->queue;
    if (m) {
        w->queue = m->next;
        if (!m->next)
            w->queue_last = NULL;
        w->queue_bytes -= m->len + QUEUE_OVERHEAD;
        *data = m->data;
        *len = m->len;
        *kind = m->kind;
        lend(m);
        return true;
    }
    if (!w->ready_message)
        return false;
    *data = ready_bytes(w, len);
    *kind = lua_kind(w);
    if (w->big) {
        lend(w->big);
        w->big = NULL;
        w->big_size = w->big_len = 0;
    }
    w->ready_message = w->in_place = false;
    return true;
}

void ws_look_again(ws *w)
{
    bool rest = w->in && w->in->start < w->in->end;
    if ((rest || w->stream.readable) && !w->read_over) {
        w->more = true;
        ws_mark_dirty(w);
    }
}

/* --- all of it ------------------------------------------------------------------------------- */

static void drop_empty_chunk(ws *w)
{
    if (w->in && !w->in_place && w->in->start == w->in->end) {
        chunk_put(pool_of(w), w->in);
        w->in = NULL;
    }
}

void ws_pump(ws *w)
{
    int reads = 0;
    while (!w->read_over && ws_is_alive(w)) {
        if (w->ready_message) {
            ws_announce(w);
            if (!can_put_aside(w))
                break;
            put_aside(w);
        }
        int rc = parse(w);
        if (rc < 0) {
            ws_fail(w, -rc);
            break;
        }
        if (rc || w->read_over)
            continue;
        if (reads++ == (w->parser.compressed ? WS_TURN_INFLATES : WS_TURN_READS)) {
            w->more = true;
            ws_mark_dirty(w);
            break;
        }
        rc = fill(w);
        if (rc == -EAGAIN || rc == -EWOULDBLOCK)
            break;
        if (rc < 0)
            ws_lose(w);
    }
    drop_empty_chunk(w);
    if (w->read_over)
        ws_ending(w);
}

void ws_free_input(ws *w)
{
    chunk_put(pool_of(w), w->in);
    w->in = NULL;
    mem_free(w->big);
    while (w->queue) {
        ws_message *m = w->queue;
        w->queue = m->next;
        mem_free(m);
    }
    ws_inflater_free(w->inflater);
    ws_deflater_free(w->deflater);
    mem_free(w->reason);
}

/* --- for who reads in a loop ----------------------------------------------------------------- */

/* (ms): a message and its kind; NaN or 0 ms: as long as it takes. */
static ptrdiff_t fast_read(fastcall *call)
{
    ws *w = call->object;
    size_t len;
    int kind;
    if (!waitq_empty(&w->readers))
        return -EBUSY;
    if (!w->queue && !w->ready_message && !w->read_over) {
        w->reader_woken = true; /* what comes is taken at once */
        ws_pump(w);
    }
    w->reader_woken = false;
    if (ws_take(w, &call->out, &len, &kind)) {
        call->extra = kind;
        ws_look_again(w);
        return (ptrdiff_t)len;
    }
    if (w->read_over)
        return w->over_code;
    double ms = call->number;
    return sched_park(&w->readers, ms > 0 ? (int64_t)ceil(ms < 1e12 ? ms : 1e12) : 0, SCHED_IO,
                      "websocket read");
}

void websocket_open(void) { fastcall_add("wsRead", fast_read); }
