/*
 * Writing: a message becomes a frame at once and is never interleaved with another one; control
 * frames go between.
 */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/random.h"
#include "conn.h"

enum {
    COPY_MAX =
        16384, /* a larger payload goes to the system from where it lies, as far as it goes */
    IOV_MAX_NODES = STREAM_IOV_MAX,
};

/* --- frames and nodes ------------------------------------------------------------------------ */

static ws_frame *frame_new(int opcode, bool compressed, const void *data, size_t len,
                           const uint8_t *mask)
{
    ws_frame *f = mem_alloc(sizeof(*f) + WS_HEAD_MAX + len);
    f->refs = 1;
    size_t head = ws_head(f->data, opcode, compressed, len, mask);
    if (mask)
        ws_mask(f->data + head, data, len, mask);
    else if (len)
        memcpy(f->data + head, data, len);
    f->len = head + len;
    return f;
}

ws_frame *ws_frame_new(int kind, bool compressed, const char *data, size_t len)
{
    return frame_new(kind, compressed, data, len, NULL);
}

void ws_frame_unref(ws_frame *f)
{
    if (--f->refs == 0)
        mem_free(f);
}

static void add_node(ws *w, ws_frame *f)
{
    ws_node *node = mem_alloc(sizeof(*node));
    *node = (ws_node){.frame = f};
    if (w->out_last)
        w->out_last->next = node;
    else
        w->out = node;
    w->out_last = node;
    w->out_bytes += f->len;
    ws_mark_dirty(w);
}

/* Before everything that has not begun to be written, but behind other control frames. */
static void add_control_node(ws *w, ws_frame *f)
{
    ws_node *node = mem_alloc(sizeof(*node)), **at = &w->out;
    *node = (ws_node){.frame = f, .control = true};
    while (*at && ((*at)->at || (*at)->control))
        at = &(*at)->next;
    node->next = *at;
    *at = node;
    if (!node->next)
        w->out_last = node;
    w->out_bytes += f->len;
    ws_mark_dirty(w);
}

/* Takes the node that `at` points to off the list. */
static void drop_node(ws *w, ws_node **at, ws_node *before)
{
    ws_node *node = *at;
    *at = node->next;
    if (w->out_last == node)
        w->out_last = before;
    w->out_bytes -= node->frame->len - node->at;
    ws_frame_unref(node->frame);
    mem_free(node);
}

void ws_drop_output(ws *w)
{
    while (w->out)
        drop_node(w, &w->out, NULL);
}

/* --- going out ------------------------------------------------------------------------------- */

static void written(ws *w, size_t n)
{
    while (n) {
        ws_node *node = w->out;
        size_t left = node->frame->len - node->at;
        if (n < left) {
            node->at += n;
            w->out_bytes -= n;
            return;
        }
        n -= left;
        drop_node(w, &w->out, NULL);
    }
}

void ws_flush(ws *w)
{
    while (w->out && w->stream.writable) {
        struct iovec iov[IOV_MAX_NODES];
        int count = 0;
        for (ws_node *node = w->out; node && count < IOV_MAX_NODES; node = node->next)
            iov[count++] =
                (struct iovec){node->frame->data + node->at, node->frame->len - node->at};
        ssize_t n = stream_writev(&w->stream, iov, count);
        if (n == -EAGAIN)
            return;
        if (n < 0) {
            ws_lose(w);
            return;
        }
        ws_counts.sent_bytes += (double)n;
        written(w, (size_t)n);
    }
    ws_drained(w);
}

void ws_drained(ws *w)
{
    if (w->choked && (double)ws_buffered(w) <= w->hub->options.max_buffered / 2) {
        w->choked = false;
        if (waitq_wake_all(&w->writers, 0))
            ev_loop_again(w->stream.net->loop);
        w->want_drain = w->hub->options.callbacks && !w->view.closed;
        ws_announce(w);
    }
    if (w->read_over)
        ws_ending(w);
}

static void new_mask(uint8_t mask[4])
{
    uint32_t bits = random_bits();
    memcpy(mask, &bits, 4);
}

/* Copies a payload behind its head; a client's is masked on the way. */
static void append_payload(ws *w, const char *data, size_t len, const uint8_t *mask)
{
    if (!mask) {
        stream_append(&w->stream, data, len);
        return;
    }
    /* Pieces of whole words, so that each begins with the mask's first byte. */
    for (size_t n; len; data += n, len -= n) {
        n = len < CHUNK_SIZE ? len : CHUNK_SIZE;
        uint8_t *to = (uint8_t *)stream_reserve(&w->stream, n);
        ws_mask(to, (const uint8_t *)data, n, mask);
        stream_commit(&w->stream, n);
    }
}

/* Large payloads: what the system takes now is not copied. */
static void write_through(ws *w, int opcode, bool compressed, const char *data, size_t len)
{
    uint8_t head[WS_HEAD_MAX];
    size_t head_len = ws_head(head, opcode, compressed, len, NULL);
    ws_counts.sent_bytes += (double)(head_len + len);
    struct iovec iov[2] = {{head, head_len}, {(void *)data, len}};
    ssize_t n = stream_writev(&w->stream, iov, 2);
    if (n < 0 && n != -EAGAIN) {
        ws_lose(w);
        return;
    }
    size_t done = n > 0 ? (size_t)n : 0;
    if (done < head_len)
        stream_append(&w->stream, head + done, head_len - done);
    done = done > head_len ? done - head_len : 0;
    stream_append(&w->stream, data + done, len - done);
}

static void write_direct(ws *w, int opcode, bool compressed, const char *data, size_t len)
{
    uint8_t mask[4], *by = NULL;
    if (w->client)
        new_mask(by = mask);
    if (len > COPY_MAX && !by && w->stream.writable) {
        write_through(w, opcode, compressed, data, len);
        return;
    }
    bool whole = len <= CHUNK_SIZE - WS_HEAD_MAX;
    uint8_t *at = (uint8_t *)stream_reserve(&w->stream, WS_HEAD_MAX + (whole ? len : 0));
    size_t n = ws_head(at, opcode, compressed, len, by);
    ws_counts.sent_bytes += (double)(n + len);
    if (!whole) {
        stream_commit(&w->stream, n);
        append_payload(w, data, len, by);
        return;
    }
    if (by)
        ws_mask(at + n, (const uint8_t *)data, len, by);
    else
        memcpy(at + n, data, len);
    stream_commit(&w->stream, n + len);
}

/* Whether a message may go straight to the stream. Where old messages may be dropped, they are kept
 * where they can be. */
static bool goes_direct(const ws *w)
{
    if (w->out)
        return false;
    if (w->hub->options.on_overflow == LINKS_WS_DROP_OLD)
        return !w->stream.out_len || (w->stream.writable && w->stream.out_len < COPY_MAX);
    return w->stream.out_len < WS_DIRECT_MAX;
}

static void send_message(ws *w, int opcode, bool compressed, const char *data, size_t len)
{
    ws_counts.sent++;
    if (goes_direct(w)) {
        write_direct(w, opcode, compressed, data, len);
        return;
    }
    uint8_t mask[4];
    if (w->client)
        new_mask(mask);
    add_node(w, frame_new(opcode, compressed, data, len, w->client ? mask : NULL));
}

void ws_send_control(ws *w, int opcode, const uint8_t *data, size_t len)
{
    if (opcode == WS_CLOSE)
        w->close_sent = true;
    if (!ws_is_alive(w))
        return;
    if (!w->out) {
        write_direct(w, opcode, false, (const char *)data, len);
        return;
    }
    uint8_t mask[4];
    if (w->client)
        new_mask(mask);
    ws_frame *f = frame_new(opcode, false, data, len, w->client ? mask : NULL);
    if (opcode == WS_CLOSE)
        add_node(w, f);
    else
        add_control_node(w, f);
}

/* --- too much -------------------------------------------------------------------------------- */

static bool is_too_much(const ws *w, size_t len)
{
    size_t have = ws_buffered(w);
    return have && w->hub->options.max_buffered &&
           (double)(have + len) > w->hub->options.max_buffered;
}

static void count_dropped(ws *w)
{
    w->view.dropped++;
    ws_counts.dropped++;
}

/* Drops the oldest messages of which nothing has gone yet until another of `len` bytes fits. */
static void drop_oldest(ws *w, size_t len)
{
    ws_node **at = &w->out, *before = NULL;
    while (*at && is_too_much(w, len)) {
        if ((*at)->at || (*at)->control) {
            before = *at;
            at = &before->next;
        } else {
            drop_node(w, at, before);
            count_dropped(w);
        }
    }
}

/* Makes room for a message by the connection's policy: 0, or LINKS_FULL, LINKS_WS_CLOSED; with
 * `may_wait` LINKS_AGAIN, parked, or why it could not be. */
static int make_room(ws *w, size_t len, bool may_wait)
{
    if (!is_too_much(w, len))
        return 0;
    int policy = w->hub->options.on_overflow;
    w->choked = true;
    if (policy == LINKS_WS_BREAK) {
        /* Not at once: somebody may be going through the subscribers. */
        w->view.status = WS_STATUS_POLICY;
        w->view.closed = 1;
        w->doomed = true;
        ws_mark_dirty(w);
        return LINKS_WS_CLOSED;
    }
    if (policy == LINKS_WS_DROP_OLD) {
        drop_oldest(w, len);
        return 0;
    }
    if (policy == LINKS_WS_BLOCK && may_wait)
        return sched_park(&w->writers, 0, SCHED_IO, "websocket write");
    count_dropped(w);
    return LINKS_FULL;
}

int links_ws_write(links_ws *lw, const char *data, size_t len, int kind)
{
    ws *w = ws_of(lw);
    ws_utf8 u = {0};
    if (lw->closed)
        return LINKS_WS_CLOSED;
    if (kind == WS_TEXT && !ws_utf8_check(&u, (const uint8_t *)data, len, true))
        return -EILSEQ;
    int rc = make_room(w, len, true);
    if (rc < 0)
        return rc;
    const links_ws_options *o = &w->hub->options;
    if (!w->deflate.on || len < (size_t)o->threshold) {
        send_message(w, kind, false, data, len);
        return 0;
    }
    const char *packed = ws_deflate_message(w->deflate.out_context ? &w->deflater : NULL, o->level,
                                            w->deflate.out_bits, data, len, &len);
    if (!packed)
        return LINKS_TOO_LARGE;
    send_message(w, kind, true, packed, len);
    return 0;
}

bool ws_send_shared(ws *w, ws_frame *f)
{
    if (make_room(w, f->len, false) < 0)
        return false;
    if (!w->client) {
        f->refs++;
        ws_counts.sent++;
        add_node(w, f);
        return true;
    }
    /* A client's frames are its own: each has another mask. */
    ws_parser p;
    ws_piece piece;
    size_t at = 0;
    ws_parser_init(&p, false, true, 0, 0);
    if (ws_parse(&p, f->data, f->len, &at, &piece) != WS_PIECE)
        return false;
    send_message(w, piece.opcode, piece.compressed, (const char *)piece.data, piece.len);
    return true;
}

int links_ws_ping(links_ws *lw, const char *data, size_t len)
{
    if (lw->closed)
        return LINKS_WS_CLOSED;
    if (len > WS_CONTROL_MAX)
        return LINKS_TOO_LARGE;
    ws_send_control(ws_of(lw), WS_PING, (const uint8_t *)data, len);
    return 0;
}

double links_ws_buffered(const links_ws *lw) { return (double)ws_buffered((const ws *)lw); }
