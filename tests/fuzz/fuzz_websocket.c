/*
 * Fuzzes what WebSocket peers send: the parser of frames, in pieces whose sizes the input chooses,
 * with inflation of what is compressed, and the fields of a handshake.
 *
 *   byte 0: 1 masked, 2 deflate, 4 the rest is a header field; byte 1: the sizes of the pieces
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "modules/http/upgrade.h"
#include "modules/websocket/deflate.h"
#include "modules/websocket/frame.h"
#include "modules/websocket/handshake.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX = 65536 };

static void must(bool ok)
{
    if (!ok)
        abort();
}

static void fuzz_field(const char *text, size_t len)
{
    static const ws_deflate_options o = {.on = true, .server_bits = 15, .client_bits = 12};
    char *copy = malloc(len ? len : 1), answer[WS_EXTENSION_MAX];
    ws_deflate d;
    memcpy(copy, text, len);
    int n = ws_deflate_accept(&d, &o, copy, len, answer);
    must(n >= 0 && n < WS_EXTENSION_MAX && d.on == (n > 0));
    must(!d.on || (d.out_bits >= WS_BITS_MIN && d.out_bits <= WS_BITS_MAX));
    if (ws_deflate_agree(&d, &o, copy, len) && d.on)
        must(d.out_bits >= WS_BITS_MIN && d.out_bits <= 12);
    must(!http_list_has(copy, len, "upgrade", 7) || len >= 7);
    must(!ws_key_is_valid(copy, len) || len == WS_KEY_LEN);
    free(copy);
}

typedef struct message {
    ws_inflater *in;
    char *buf;
    size_t len, size;
} message;

/* False where the connection would be closed. */
static bool take(message *m, const ws_piece *p)
{
    if (!p->compressed)
        return true;
    if (p->begins)
        m->len = 0;
    int rc = ws_inflate(&m->in, true, p->data, p->len, p->ends, &m->buf, &m->len, &m->size, MAX);
    must(rc == 0 || (rc <= -1000 && rc > -1016));
    must(rc < 0 || m->len <= MAX);
    return rc == 0;
}

static void fuzz_frames(uint8_t flags, size_t step, const uint8_t *data, size_t size)
{
    message m = {0};
    ws_parser p;
    ws_piece piece;
    /* What is not used stays, as in a connection, in memory of exactly that size. */
    uint8_t *held = NULL;
    size_t held_len = 0;
    bool open = true;
    ws_parser_init(&p, flags & 1, flags & 2, MAX, 64);
    for (size_t done = 0; open && done < size;) {
        size_t n = size - done < step ? size - done : step, at = 0;
        held = realloc(held, held_len + n);
        memcpy(held + held_len, data + done, n);
        held_len += n;
        done += n;
        for (int rc; open && (rc = ws_parse(&p, held, held_len, &at, &piece)) != WS_MORE;) {
            must(at <= held_len);
            if (rc < 0) {
                must(rc <= -1000 && rc > -1016);
                open = false;
            } else if (rc == WS_PIECE) {
                open = take(&m, &piece);
            } else if (piece.opcode == WS_CLOSE) {
                int status = ws_close_status(piece.data, piece.len);
                must(status < 0 || status == WS_STATUS_NONE || ws_status_is_valid(status));
                open = false;
            }
        }
        memmove(held, held + at, held_len - at);
        held_len -= at;
        must(!open || held_len < WS_FRAME_MIN);
    }
    free(held);
    mem_free(m.buf);
    ws_inflater_free(m.in);
    ws_deflate_close();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    if (data[0] & 4)
        fuzz_field((const char *)data + 2, size - 2);
    else
        fuzz_frames(data[0], data[1] ? data[1] : size, data + 2, size - 2);
    return 0;
}
