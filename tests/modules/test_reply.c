#include "modules/http/reply.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static links_http_reply *r;

#define R ((reply *)r)

static void setup(void) { r = links_http_reply_new(); }

static void teardown(void) { links_http_reply_free(r); }

TestSuite(reply, .init = setup, .fini = teardown);

static long head(const char *text) { return reply_head(R, text, strlen(text)); }

static void refuses(int code, const char *text)
{
    cr_assert_eq(head(text), code, "%s", text);
    /* In bytes, too: each time from memory of its own. */
    size_t len = strlen(text);
    long rc = 0;
    for (size_t n = 1; n <= len && rc == 0; n++) {
        char *copy = malloc(n);
        memcpy(copy, text, n);
        rc = reply_head(R, copy, n);
        free(copy);
    }
    cr_assert_eq(rc, code, "in bytes: %s", text);
}

Test(reply, finds_what_a_client_needs)
{
    const char *text =
        "HTTP/1.1 301 Moved Permanently\r\nLocation:  /x \r\nContent-Length: 12\r\n"
        "Keep-Alive: max=3, timeout=7\r\nContent-Encoding: GZip\r\n\r\nbody";
    cr_assert_eq(head(text), (long)strlen(text) - 4);
    cr_assert_eq(r->status, 301);
    cr_assert_eq(r->minor, 1);
    cr_assert_eq(strncmp(text + r->reason, "Moved Permanently", (size_t)r->reason_len), 0);
    cr_assert_eq(r->reason_len, 17);
    cr_assert_eq(strncmp(text + r->location, "/x", (size_t)r->location_len), 0);
    cr_assert_eq(r->location_len, 2);
    cr_assert_eq(strncmp(text + r->fields, "Location", 8), 0);
    cr_assert_eq(r->content_length, 12);
    cr_assert_eq(r->framing, LINKS_REPLY_LENGTH);
    cr_assert_eq(r->coding, LINKS_REPLY_GZIP);
    cr_assert_eq(r->idle_s, 7);
    cr_assert(r->keep_alive);
}

Test(reply, may_come_in_any_pieces)
{
    const char *text = "HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n";
    size_t len = strlen(text);
    for (size_t a = 0; a <= len; a++) {
        for (size_t b = a; b < len; b++) {
            cr_assert_eq(reply_head(R, text, a), a == len ? (long)len : 0);
            cr_assert_eq(reply_head(R, text, b), 0);
            cr_assert_eq(reply_head(R, text, len), (long)len);
            cr_assert_eq(r->framing, LINKS_REPLY_CHUNKED);
        }
    }
}

Test(reply, says_where_the_body_ends)
{
    head("HTTP/1.1 200 OK\r\n\r\n");
    cr_assert_eq(r->framing, LINKS_REPLY_CLOSE);
    head("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n");
    cr_assert_eq(r->framing, LINKS_REPLY_NONE);
    head("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n");
    cr_assert_eq(r->framing, LINKS_REPLY_NONE);
    head("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n");
    cr_assert_eq(r->framing, LINKS_REPLY_NONE);
    head("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n");
    cr_assert_eq(r->framing, LINKS_REPLY_LENGTH);
    cr_assert_eq(r->content_length, 0);
}

Test(reply, says_whether_the_connection_goes_on)
{
    head("HTTP/1.1 200 OK\r\nConnection: x, Close\r\n\r\n");
    cr_assert_not(r->keep_alive);
    head("HTTP/1.1 200 OK\r\n\r\n");
    cr_assert(r->keep_alive);
    head("HTTP/1.0 200 OK\r\n\r\n");
    cr_assert_not(r->keep_alive);
    head("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n");
    cr_assert(r->keep_alive);
}

Test(reply, knows_codings)
{
    static const struct {
        const char *value;
        int coding;
    } cases[] = {
        {"identity", LINKS_REPLY_IDENTITY},    {"x-gzip", LINKS_REPLY_GZIP},
        {"deflate", LINKS_REPLY_DEFLATE},      {"br", LINKS_REPLY_BROTLI},
        {"gzip, gzip", LINKS_REPLY_OTHER},     {"", LINKS_REPLY_IDENTITY},
        {"identity , gzip", LINKS_REPLY_GZIP}, {"gzipped", LINKS_REPLY_OTHER},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[128] = "HTTP/1.1 200 OK\r\nContent-Encoding: ";
        strcat(strcat(text, cases[i].value), "\r\n\r\n");
        head(text);
        cr_assert_eq(r->coding, cases[i].coding, "%s", cases[i].value);
    }
}

Test(reply, takes_a_missing_reason)
{
    cr_assert_gt(head("HTTP/1.1 200\r\n\r\n"), 0);
    cr_assert_eq(r->reason_len, 0);
    cr_assert_gt(head("HTTP/1.1 200 \r\n\r\n"), 0);
    cr_assert_eq(r->reason_len, 0);
}

Test(reply, refuses_what_is_no_head)
{
    refuses(LINKS_PROTOCOL, "SSH-2.0-OpenSSH_9.2\r\n");
    refuses(LINKS_PROTOCOL, "HTTP/2 200 OK\r\n\r\n");
    refuses(LINKS_PROTOCOL, "HTTP/1.2 200 OK\r\n\r\n");
    refuses(LINKS_PROTOCOL, "http/1.1 200 OK\r\n\r\n");
    refuses(LINKS_PROTOCOL, "HTTP/1.1 20 OK\r\n\r\n");
    refuses(LINKS_PROTOCOL, "HTTP/1.1 099 OK\r\n\r\n");
    refuses(LINKS_PROTOCOL, "HTTP/1.1 2000 OK\r\n\r\n");
    refuses(LINKS_PROTOCOL, "HTTP/1.1 +20 OK\r\n\r\n");
    refuses(LINKS_PROTOCOL, "HTTP/1.1  200 OK\r\n\r\n");
    refuses(LINKS_PROTOCOL, "HTTP/1.1 200 O\1K\r\n\r\n");
    refuses(LINKS_PROTOCOL, "\r\nHTTP/1.1 200 OK\r\n\r\n");
    refuses(LINKS_PROTOCOL, "HTTP/1.1 200 OK\n\n");
    refuses(LINKS_PROTOCOL, "HTTP/1.1 200 OK\r\nA: b\n\r\n");
    refuses(LINKS_PROTOCOL, "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n");
    refuses(LINKS_PROTOCOL, "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n");
    refuses(LINKS_PROTOCOL, "HTTP/1.1 200 OK\r\n A: b\r\n\r\n");
    refuses(LINKS_PROTOCOL, "HTTP/1.1 200 OK\r\nA : b\r\n\r\n");
    refuses(LINKS_PROTOCOL, "HTTP/1.1 200 OK\r\n: b\r\n\r\n");
    refuses(LINKS_PROTOCOL, "HTTP/1.1 200 OK\r\nA\r\n\r\n");
    refuses(LINKS_PROTOCOL, "HTTP/1.1 200 OK\r\nA: \x7f\r\n\r\n");
}

Test(reply, refuses_a_nul)
{
    static const char text[] = "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n";
    cr_assert_eq(reply_head(R, text, sizeof(text) - 1), LINKS_PROTOCOL);
}

Test(reply, refuses_lengths_that_are_in_doubt)
{
    static const char *const fields[] = {
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 999999999999999999\r\n",
        "Content-Length: 9999999999999999999999\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        char text[256] = "HTTP/1.1 200 OK\r\n";
        refuses(LINKS_HTTP_BAD_FRAMING, strcat(strcat(text, fields[i]), "\r\n"));
    }
    refuses(LINKS_HTTP_BAD_FRAMING, "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
}

Test(reply, has_limits)
{
    size_t size = HTTP_REPLY_HEAD_MAX + 100;
    char *text = malloc(size);
    memset(text, 'a', size);
    memcpy(text, "HTTP/1.1 200 OK\r\nA: ", 20);
    cr_assert_eq(reply_head(R, text, HTTP_REPLY_HEAD_MAX - 1), 0);
    cr_assert_eq(reply_head(R, text, size), LINKS_HTTP_HEADERS_TOO_LARGE);
    size_t at = 17;
    for (int i = 0; i < HTTP_REPLY_FIELDS_MAX + 1; i++, at += 5)
        memcpy(text + at, "A: b\r\n", 6), at++;
    memcpy(text + at, "\r\n", 2);
    cr_assert_eq(reply_head(R, text, at + 2), LINKS_HTTP_HEADERS_TOO_LARGE);
    memcpy(text + at - 6, "\r\n", 2);
    cr_assert_eq(reply_head(R, text, at - 4), (long)at - 4);
    free(text);
}

/* --- bodies ---------------------------------------------------------------------------------- */

static void begin_chunks(void)
{
    cr_assert_gt(head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), 0);
}

/* Decodes in steps into `out`; the length, or a failure. */
static long decode(const char *text, size_t len, size_t step, char *out, size_t *used)
{
    size_t total = 0, at = 0;
    begin_chunks();
    while (at < len && !r->done) {
        const char *body;
        size_t n = len - at < step ? len - at : step;
        long got = reply_body(R, text + at, n, &body);
        if (got < 0)
            return got;
        cr_assert(r->used > 0 && r->used <= (double)n);
        memcpy(out + total, body, (size_t)got);
        total += (size_t)got;
        at += (size_t)r->used;
    }
    *used = at;
    return (long)total;
}

Test(reply, decodes_chunks_in_any_steps)
{
    const char *text = "5\r\nhello\r\n1;x=y\r\n \r\n5\r\nworld\r\n0\r\nA: b\r\nC: d\r\n\r\nnext";
    char out[64];
    for (size_t step = 1; step < strlen(text); step++) {
        size_t used = 0;
        cr_assert_eq(decode(text, strlen(text), step, out, &used), 11);
        cr_assert_eq(memcmp(out, "hello world", 11), 0);
        cr_assert_eq(used, strlen(text) - 4);
        cr_assert(r->done);
        cr_assert_eq(r->trailers_len, 14);
        cr_assert_eq(memcmp(r->trailers, "A: b\r\nC: d\r\n\r\n", 14), 0);
    }
}

Test(reply, decodes_pieces_that_are_larger_than_its_buffer)
{
    enum { CHUNKS = 3000 };
    char *text = malloc(CHUNKS * 16 + 8), *out = malloc(CHUNKS * 10);
    size_t len = 0, used = 0;
    for (int i = 0; i < CHUNKS; i++, len += 15)
        memcpy(text + len, "a\r\n0123456789\r\n", 15);
    memcpy(text + len, "0\r\n\r\n", 5);
    len += 5;
    cr_assert_eq(decode(text, len, len, out, &used), CHUNKS * 10);
    cr_assert_eq(used, len);
    for (int i = 0; i < CHUNKS * 10; i++)
        cr_assert_eq(out[i], '0' + i % 10);
    free(text);
    free(out);
}

Test(reply, refuses_bad_chunks)
{
    static const char *const bad[] = {"x\r\n", "5\r\nhelloX",           "5\nhello",   "-1\r\n",
                                      "\r\n",  "fffffffffffffffff\r\n", "0\r\nA\r\n", "0\r\n\rX"};
    char out[64];
    size_t used;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        for (size_t step = 1; step < 8; step++)
            cr_assert_eq(decode(bad[i], strlen(bad[i]), step, out, &used), LINKS_HTTP_BAD_FRAMING,
                         "%s", bad[i]);
}
