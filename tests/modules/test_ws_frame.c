#include "modules/websocket/frame.h"

#include <criterion/criterion.h>
#include <string.h>

static ws_parser p;
static ws_piece piece;

static void init(void) { ws_parser_init(&p, true, false, 1000, 10); }

TestSuite(ws_frame, .init = init);

/* A masked frame; its length. */
static size_t put(uint8_t *to, uint8_t first, const char *text, size_t len)
{
    static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};
    size_t n = ws_head(to, 0, false, len, mask);
    to[0] = first;
    ws_mask(to + n, (const uint8_t *)text, len, mask);
    return n + len;
}

static size_t put_text(uint8_t *to, uint8_t first, const char *text)
{
    return put(to, first, text, strlen(text));
}

static int parse_all(uint8_t *data, size_t len, size_t *at)
{
    *at = 0;
    return ws_parse(&p, data, len, at, &piece);
}

Test(ws_frame, masks_every_length_and_offset_alike)
{
    static const uint8_t mask[4] = {1, 2, 4, 8};
    uint8_t from[64], to[80];
    for (size_t i = 0; i < sizeof(from); i++)
        from[i] = (uint8_t)(i * 7);
    for (size_t offset = 0; offset < 8; offset++) {
        for (size_t len = 0; len <= 48; len++) {
            memset(to, 0xaa, sizeof(to));
            ws_mask(to + offset, from + 3, len, mask);
            for (size_t i = 0; i < len; i++)
                cr_assert_eq(to[offset + i], from[3 + i] ^ mask[i & 3]);
            cr_assert_eq(to[offset + len], 0xaa);
        }
    }
}

Test(ws_frame, takes_a_message_split_at_every_byte)
{
    uint8_t whole[64], data[64];
    char got[32];
    size_t len = put_text(whole, 0x01, "k\xc3\xb6");
    len += put_text(whole + len, 0x89, "ping");
    len += put_text(whole + len, 0x80, "stlich");
    for (size_t split = 0; split <= len; split++) {
        size_t at = 0, n = 0, pings = 0, have = split;
        bool ended = false;
        init();
        memcpy(data, whole, len);
        for (;;) {
            int rc = ws_parse(&p, data, have, &at, &piece);
            cr_assert_geq(rc, 0);
            if (rc == WS_MORE && have == len)
                break;
            if (rc == WS_MORE) {
                have = len;
            } else if (rc == WS_CONTROL) {
                cr_assert_eq(memcmp(piece.data, "ping", 4), 0);
                pings++;
            } else {
                cr_assert_eq(piece.begins, n == 0);
                memcpy(got + n, piece.data, piece.len);
                n += piece.len;
                ended = piece.ends;
            }
        }
        cr_assert(ended);
        cr_assert_eq(pings, 1u);
        cr_assert_eq(n, 9u);
        cr_assert_eq(memcmp(got, "k\xc3\xb6stlich", 9), 0);
    }
}

Test(ws_frame, keeps_the_mask_in_step_over_pieces)
{
    uint8_t data[256];
    char text[200];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + i % 26);
    size_t len = put(data, 0x82, text, sizeof(text)), at = 0, n = 0;
    for (size_t have = 1; n < sizeof(text); have += 3) {
        while (ws_parse(&p, data, have < len ? have : len, &at, &piece) == WS_PIECE) {
            cr_assert_eq(memcmp(piece.data, text + n, piece.len), 0);
            n += piece.len;
        }
    }
    cr_assert(piece.ends);
}

Test(ws_frame, hands_out_an_empty_message)
{
    uint8_t data[16];
    size_t at, len = put_text(data, 0x81, "");
    cr_assert_eq(parse_all(data, len, &at), WS_PIECE);
    cr_assert(piece.begins && piece.ends);
    cr_assert_eq(piece.len, 0u);
    len = put_text(data, 0x01, "");
    len += put_text(data + len, 0x80, "");
    cr_assert_eq(parse_all(data, len, &at), WS_PIECE);
    cr_assert(piece.begins && piece.ends);
    cr_assert_eq(at, len);
}

Test(ws_frame, writes_the_three_forms_of_a_length)
{
    uint8_t head[WS_HEAD_MAX];
    static const struct {
        uint64_t len;
        size_t head;
    } cases[] = {{0, 2}, {125, 2}, {126, 4}, {65535, 4}, {65536, 10}, {1ull << 40, 10}};
    ws_parser_init(&p, false, false, 0, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t at = 0;
        size_t n = ws_head(head, WS_BINARY, false, cases[i].len, NULL);
        cr_assert_eq(n, cases[i].head);
        cr_assert_eq(ws_parse(&p, head, n, &at, &piece), cases[i].len ? WS_MORE : WS_PIECE);
        cr_assert_eq(at, n);
        cr_assert_eq(p.left, cases[i].len);
        init();
        p.masked = false;
        p.max = 0;
    }
}

Test(ws_frame, refuses_a_server_that_masks_and_a_client_that_does_not)
{
    uint8_t data[16];
    size_t at, len = ws_head(data, WS_TEXT, false, 0, NULL);
    cr_assert_eq(parse_all(data, len, &at), -WS_STATUS_PROTOCOL);
    len = put_text(data, 0x81, "x");
    p.masked = false;
    cr_assert_eq(parse_all(data, len, &at), -WS_STATUS_PROTOCOL);
}

Test(ws_frame, takes_a_compressed_message_only_where_that_was_agreed_on)
{
    uint8_t data[32];
    size_t at, len = put_text(data, 0x41, "x");
    cr_assert_eq(parse_all(data, len, &at), -WS_STATUS_PROTOCOL);
    init();
    p.deflate = true;
    len = put_text(data, 0x41, "\xff");
    len += put_text(data + len, 0xc0, "x");
    cr_assert_eq(parse_all(data, len, &at), WS_PIECE);
    cr_assert(piece.compressed);
    cr_assert_eq(ws_parse(&p, data, len, &at, &piece), -WS_STATUS_PROTOCOL,
                 "only the first frame says so");
}

Test(ws_frame, checks_text_like_a_table_of_all_two_byte_ends)
{
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {
        {"", true},
        {"plain", true},
        {"\xc2\x80", true},
        {"\xdf\xbf", true},
        {"\xe0\xa0\x80", true},
        {"\xed\x9f\xbf", true},
        {"\xee\x80\x80", true},
        {"\xf0\x90\x80\x80", true},
        {"\xf4\x8f\xbf\xbf", true},
        {"\x80", false},
        {"\xc1\x80", false},
        {"\xc2", false},
        {"\xe0\x9f\x80", false},
        {"\xed\xa0\x80", false},
        {"\xf0\x8f\x80\x80", false},
        {"\xf4\x90\x80\x80", false},
        {"\xf5\x80\x80\x80", false},
        {"\xff", false},
        {"12345678\xff", false},
        {"1234567890123\xc3\xb6", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const uint8_t *text = (const uint8_t *)cases[i].text;
        size_t len = strlen(cases[i].text);
        for (size_t split = 0; split <= len; split++) {
            ws_utf8 u = {0};
            bool ok = ws_utf8_check(&u, text, split, false) &&
                      ws_utf8_check(&u, text + split, len - split, true);
            cr_assert_eq(ok, cases[i].valid, "case %zu split at %zu", i, split);
        }
    }
}

Test(ws_frame, knows_the_statuses_that_may_be_sent)
{
    for (int status = 0; status < 6000; status++) {
        bool valid = (status >= 1000 && status <= 1014 && status != 1004 && status != 1005 &&
                      status != 1006) ||
                     (status >= 3000 && status <= 4999);
        cr_assert_eq(ws_status_is_valid(status), valid, "%d", status);
    }
    cr_assert_eq(ws_close_status(NULL, 0), WS_STATUS_NONE);
    cr_assert_eq(ws_close_status((const uint8_t *)"\x03", 1), -WS_STATUS_PROTOCOL);
    cr_assert_eq(ws_close_status((const uint8_t *)"\x03\xe8", 2), 1000);
    cr_assert_eq(ws_close_status((const uint8_t *)"\x03\xe8ok", 4), 1000);
    cr_assert_eq(ws_close_status((const uint8_t *)"\x03\xe8\xff", 3), -WS_STATUS_INVALID);
}
