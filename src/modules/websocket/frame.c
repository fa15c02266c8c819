#include "frame.h"

#include <string.h>

/* --- text ------------------------------------------------------------------------------------ */

static const uint64_t HIGH_BITS = 0x8080808080808080;

/* The number of bytes at the beginning that are ASCII, by words: the rest of one is left. */
static size_t ascii_words(const uint8_t *data, size_t len)
{
    size_t i = 0;
    for (uint64_t word; i + sizeof(word) <= len; i += sizeof(word)) {
        memcpy(&word, data + i, sizeof(word));
        if (word & HIGH_BITS)
            break;
    }
    return i;
}

/* The first byte of a character that is not ASCII (RFC 3629, 4). */
static bool begin_character(ws_utf8 *u, uint8_t c)
{
    u->lo = 0x80;
    u->hi = 0xbf;
    if (c < 0xc2 || c > 0xf4)
        return false;
    if (c < 0xe0) {
        u->need = 1;
    } else if (c < 0xf0) {
        u->need = 2;
        if (c == 0xe0)
            u->lo = 0xa0; /* shorter forms are not allowed */
        else if (c == 0xed)
            u->hi = 0x9f; /* nor are surrogates */
    } else {
        u->need = 3;
        if (c == 0xf0)
            u->lo = 0x90;
        else if (c == 0xf4)
            u->hi = 0x8f;
    }
    return true;
}

bool ws_utf8_check(ws_utf8 *u, const uint8_t *data, size_t len, bool ends)
{
    for (size_t i = 0; i < len;) {
        if (u->need) {
            if (data[i] < u->lo || data[i] > u->hi)
                return false;
            u->need--;
            u->lo = 0x80;
            u->hi = 0xbf;
            i++;
            continue;
        }
        i += ascii_words(data + i, len - i);
        while (i < len && data[i] < 0x80)
            i++;
        if (i < len && !begin_character(u, data[i++]))
            return false;
    }
    return !ends || !u->need;
}

/* --- masks ----------------------------------------------------------------------------------- */

void ws_mask(uint8_t *to, const uint8_t *from, size_t len, const uint8_t mask[4])
{
    uint64_t word, by;
    size_t i = 0;
    memcpy(&by, mask, 4);
    memcpy((char *)&by + 4, mask, 4);
    for (; i + sizeof(word) <= len; i += sizeof(word)) {
        memcpy(&word, from + i, sizeof(word));
        word ^= by;
        memcpy(to + i, &word, sizeof(word));
    }
    for (; i < len; i++)
        to[i] = from[i] ^ mask[i & 3];
}

/* What the mask is `n` bytes further on. */
static void rotate(uint8_t mask[4], size_t n)
{
    uint8_t old[4];
    memcpy(old, mask, 4);
    for (size_t i = 0; i < 4; i++)
        mask[i] = old[(i + n) & 3];
}

/* --- the parser ------------------------------------------------------------------------------ */

void ws_parser_init(ws_parser *p, bool masked, bool deflate, uint64_t max, uint32_t max_frames)
{
    *p = (ws_parser){.max = max, .max_frames = max_frames, .masked = masked, .deflate = deflate};
}

/* The lengths of a head and its payload by the first two bytes and, where they are needed, the
 * following ones. 0 where these have not come. */
static size_t head_length(const uint8_t *at, size_t have, uint64_t *len)
{
    size_t n = 2;
    *len = at[1] & 0x7f;
    if (*len >= 126) {
        size_t bytes = *len == 126 ? 2 : 8;
        if (have < n + bytes)
            return 0;
        *len = 0;
        for (size_t i = 0; i < bytes; i++)
            *len = *len << 8 | at[n + i];
        n += bytes;
    }
    n += at[1] & 0x80 ? 4 : 0;
    return n <= have ? n : 0;
}

/* What the first two bytes say that must not be (RFC 6455, 5.2, 5.4, 5.5). */
static bool is_forbidden(const ws_parser *p, const uint8_t *at)
{
    int opcode = at[0] & 0x0f;
    bool final = at[0] & 0x80, rsv1 = at[0] & 0x40, masked = at[1] & 0x80;

    if (at[0] & 0x30 || masked != p->masked)
        return true;
    if (opcode >= WS_CLOSE)
        return opcode > WS_PONG || !final || rsv1 || (at[1] & 0x7f) > WS_CONTROL_MAX;
    if (opcode > WS_BINARY)
        return true;
    /* A message continues if one has begun, and only its first frame says that it is compressed. */
    if ((opcode == WS_CONTINUATION) != (p->opcode != 0))
        return true;
    return rsv1 && (!p->deflate || opcode == WS_CONTINUATION);
}

/* The shortest form is the only one (RFC 6455, 5.2). */
static bool is_length_wrong(const uint8_t *at, uint64_t len)
{
    int form = at[1] & 0x7f;
    return (form == 126 && len < 126) || (form == 127 && (len < 65536 || len >> 63));
}

static int control(const ws_parser *p, uint8_t *at, size_t head, size_t len, ws_piece *piece)
{
    uint8_t *payload = at + head;
    if (p->masked)
        ws_mask(payload, payload, len, payload - 4);
    *piece = (ws_piece){.data = payload, .len = len, .opcode = at[0] & 0x0f};
    return WS_CONTROL;
}

/* Takes the head of a frame of a message: WS_PIECE, or a negative status. */
static int begin_frame(ws_parser *p, const uint8_t *at, size_t head, uint64_t len)
{
    if (!p->opcode) {
        p->opcode = at[0] & 0x0f;
        p->compressed = at[0] & 0x40;
        p->total = 0;
        p->frames = 0;
        p->begun = false;
        p->utf8 = (ws_utf8){0};
    }
    if (++p->frames > p->max_frames && p->max_frames)
        return -WS_STATUS_POLICY;
    if (p->max && !p->compressed && len > p->max - p->total)
        return -WS_STATUS_TOO_LARGE;
    if (p->masked)
        memcpy(p->mask, at + head - 4, 4);
    p->left = len;
    p->in_frame = true;
    p->final = at[0] & 0x80;
    return WS_PIECE;
}

static int payload(ws_parser *p, uint8_t *data, size_t len, size_t *at, ws_piece *piece)
{
    size_t n = len - *at;
    if (n > p->left)
        n = (size_t)p->left;
    if (!n && p->left)
        return WS_MORE;
    uint8_t *from = data + *at;
    if (p->masked) {
        ws_mask(from, from, n, p->mask);
        rotate(p->mask, n & 3);
    }
    bool ends = p->final && n == p->left;
    if (p->opcode == WS_TEXT && !p->compressed && !ws_utf8_check(&p->utf8, from, n, ends))
        return -WS_STATUS_INVALID;
    *piece = (ws_piece){
        .data = from,
        .len = n,
        .opcode = p->opcode,
        .compressed = p->compressed,
        .begins = !p->begun,
        .ends = ends,
    };
    p->begun = true;
    *at += n;
    p->left -= n;
    p->total += n;
    if (!p->left)
        p->in_frame = false;
    if (ends)
        p->opcode = 0;
    return WS_PIECE;
}

int ws_parse(ws_parser *p, uint8_t *data, size_t len, size_t *at, ws_piece *piece)
{
    while (!p->in_frame) {
        uint8_t *head = data + *at;
        size_t have = len - *at;
        uint64_t payload_len;
        if (have < 2)
            return WS_MORE;
        if (is_forbidden(p, head))
            return -WS_STATUS_PROTOCOL;
        size_t n = head_length(head, have, &payload_len);
        if (!n)
            return WS_MORE;
        if (is_length_wrong(head, payload_len))
            return -WS_STATUS_PROTOCOL;
        if (head[0] & 0x08) {
            if (have - n < payload_len)
                return WS_MORE;
            *at += n + (size_t)payload_len;
            return control(p, head, n, (size_t)payload_len, piece);
        }
        int rc = begin_frame(p, head, n, payload_len);
        if (rc < 0)
            return rc;
        *at += n;
        /* An empty frame in the middle of a message says nothing. */
        if (!payload_len && !p->final)
            p->in_frame = false;
    }
    return payload(p, data, len, at, piece);
}

/* --- writing --------------------------------------------------------------------------------- */

size_t ws_head(uint8_t *to, int opcode, bool compressed, uint64_t len, const uint8_t *mask)
{
    size_t n = 2, bytes = len < 126 ? 0 : len < 65536 ? 2 : 8;
    to[0] = (uint8_t)(0x80 | (compressed ? 0x40 : 0) | opcode);
    to[1] = (uint8_t)((mask ? 0x80 : 0) | (bytes == 0 ? (int)len : bytes == 2 ? 126 : 127));
    for (size_t i = bytes; i-- > 0;)
        to[n++] = (uint8_t)(len >> (8 * i));
    if (mask) {
        memcpy(to + n, mask, 4);
        n += 4;
    }
    return n;
}

/* --- closing --------------------------------------------------------------------------------- */

bool ws_status_is_valid(int status)
{
    if (status >= 3000)
        return status < 5000;
    return (status >= 1000 && status <= 1003) || (status >= 1007 && status <= 1014);
}

int ws_close_status(const uint8_t *data, size_t len)
{
    ws_utf8 u = {0};
    if (!len)
        return WS_STATUS_NONE;
    if (len < 2)
        return -WS_STATUS_PROTOCOL;
    int status = data[0] << 8 | data[1];
    if (!ws_status_is_valid(status))
        return -WS_STATUS_PROTOCOL;
    return ws_utf8_check(&u, data + 2, len - 2, true) ? status : -WS_STATUS_INVALID;
}
