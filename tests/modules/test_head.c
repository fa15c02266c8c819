#include "modules/http/head.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "modules/http/chunked.h"

static const http_limits limits = {.request_line = 100, .header_size = 200, .header_count = 5};

static http_head *h;

static void setup(void)
{
    h = malloc(http_head_size(limits.header_count));
    http_head_init(h, &limits);
}

static void teardown(void) { free(h); }

TestSuite(head, .init = setup, .fini = teardown);

static int feed(const char *text) { return http_head_feed(h, text, strlen(text)); }

static const char *field(const char *base, int i)
{
    static char out[256];
    snprintf(out, sizeof(out), "%.*s=%.*s", (int)h->fields[i].name_len, base + h->fields[i].name,
             (int)h->fields[i].value_len, base + h->fields[i].value);
    return out;
}

Test(head, finds_the_line_and_the_fields)
{
    const char *text = "POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 42\r\nA:\r\n\r\nbody";
    cr_assert_eq(feed(text), (int)strlen(text) - 4);
    cr_assert_eq(h->method, HTTP_POST);
    cr_assert_eq(h->minor, 1);
    cr_assert_eq(h->url, 5u);
    cr_assert_eq(h->url_len, 4u);
    cr_assert_eq(h->nfields, 3u);
    cr_assert_str_eq(field(text, 0), "Host=x");
    cr_assert_str_eq(field(text, 1), "Content-Length=42");
    cr_assert_str_eq(field(text, 2), "A=");
    cr_assert_eq(h->content_length, 42);
    cr_assert(h->keep_alive);
    cr_assert_not(h->chunked);
    cr_assert_eq(http_head_find(h, text, "content-LENGTH", 14, -1), 1);
    cr_assert_eq(http_head_find(h, text, "content-LENGTH", 14, 1), -1);
    cr_assert_eq(http_head_find(h, text, "b", 1, -1), -1);
}

Test(head, may_come_in_any_pieces_and_move_between_them)
{
    const char *text = "GET /abc HTTP/1.1\r\nHost: example\r\nX-Y:  some value  \r\n\r\n";
    size_t len = strlen(text);
    for (size_t a = 0; a <= len; a++) {
        for (size_t b = a; b <= len; b++) {
            http_head_init(h, &limits);
            size_t ends[] = {a, b, len};
            int rc = 0;
            for (int i = 0; i < 3 && rc == 0; i++) {
                char *moved = malloc(ends[i] ? ends[i] : 1);
                memcpy(moved, text, ends[i]);
                rc = http_head_feed(h, moved, ends[i]);
                free(moved);
            }
            cr_assert_eq(rc, (int)len, "in pieces at %zu and %zu", a, b);
            cr_assert_str_eq(field(text, 1), "X-Y=some value");
        }
    }
}

/* In one piece a plain head does not pass through http-parser, in two it does. */
Test(head, is_found_alike_in_one_piece_and_in_two)
{
    static const char *const texts[] = {
        "GET /a?b=%20 HTTP/1.1\r\nHost: x:80\r\nAccept: */*\r\n\r\n",
        "DELETE / HTTP/1.1\r\nhOST:x\r\nA: \t b \t c  \r\nX: \x80\xff\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5 \r\nExpect: 100-Continue\r\n\r\nhello",
        "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\t\r\n\r\nhello",
        "PATCH / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nProxy-Connection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: y\r\nConnection: upgrade\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\x01\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
        "GET /# HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5\r\n\r\n",
    };
    http_head *whole = malloc(http_head_size(limits.header_count));
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char *text = texts[i];
        http_head_init(whole, &limits);
        http_head_init(h, &limits);
        int rc = http_head_feed(whole, text, strlen(text));
        int first = http_head_feed(h, text, 4);
        cr_assert_eq(first ? first : feed(text), rc, "%s", text);
        if (rc < 0)
            continue;
        cr_assert(whole->method == h->method && whole->minor == h->minor, "%s", text);
        cr_assert(whole->url == h->url && whole->url_len == h->url_len, "%s", text);
        cr_assert(whole->keep_alive == h->keep_alive && whole->chunked == h->chunked, "%s", text);
        cr_assert_eq(whole->content_length, h->content_length, "%s", text);
        cr_assert_eq(whole->expect_continue, h->expect_continue, "%s", text);
        cr_assert_eq(whole->nfields, h->nfields, "%s", text);
        cr_assert_arr_eq(whole->fields, h->fields, h->nfields * sizeof(http_field), "%s", text);
    }
    free(whole);
}

Test(head, holds_to_its_limits_exactly)
{
    char text[512];
    /* A line of 100 bytes passes, of 101 does not. */
    for (int line = 100; line <= 101; line++) {
        http_head_init(h, &limits);
        int n = snprintf(text, sizeof(text), "GET /%0*d HTTP/1.1\r\nHost: x\r\n\r\n", line - 14, 0);
        cr_assert_eq(http_head_feed(h, text, (size_t)n), line == 100 ? n : -414);
    }
    /* Fields of 200 bytes in all, the empty line included. */
    for (int size = 200; size <= 201; size++) {
        http_head_init(h, &limits);
        int n = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: x\r\nA: %0*d\r\n\r\n",
                         size - 9 - 5 - 2, 0);
        cr_assert_eq(http_head_feed(h, text, (size_t)n), size == 200 ? n : -431);
    }
}

Test(head, knows_who_goes_on)
{
    struct {
        const char *text;
        bool keep_alive;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: x\r\nConnection: a, Close ,b\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n", false},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        http_head_init(h, &limits);
        cr_assert_gt(feed(cases[i].text), 0);
        cr_assert_eq(h->keep_alive, cases[i].keep_alive, "%s", cases[i].text);
    }
}

Test(head, knows_what_may_stand_in_a_value)
{
    cr_assert(http_is_field_value("a\tb \xff", 5));
    cr_assert_not(http_is_field_value("a\nb", 3));
    cr_assert_not(http_is_field_value("a\0b", 3));
    cr_assert_not(http_is_field_value("\x7f", 1));
    cr_assert(http_is_token('!'));
    cr_assert_not(http_is_token(':'));
    cr_assert_not(http_is_token(0));
    cr_assert_not(http_is_token(0x80));
}

Test(head, finds_a_control_at_any_place_of_a_value)
{
    char value[24];
    for (size_t len = 0; len <= sizeof(value); len++) {
        for (size_t at = 0; at < len; at++) {
            for (int c = 0; c < 256; c++) {
                memset(value, at % 2 ? 'x' : 0xff, len);
                value[at] = (char)c;
                bool good = c == '\t' || (c >= ' ' && c != 127);
                cr_assert_eq(http_is_field_value(value, len), good, "%d at %zu of %zu", c, at, len);
            }
        }
    }
}

/* Decodes `text` in pieces of `step` bytes; the body, or NULL where it is refused or not over. */
static const char *decode(const char *text, size_t step)
{
    static char out[256];
    size_t used = 0, at = 0, len = strlen(text);
    chunked c;
    chunked_init(&c);
    for (size_t end = 0; end < len && !chunked_done(&c);) {
        end = end + step < len ? end + step : len;
        while (at < end && !chunked_done(&c)) {
            const char *body;
            long n = chunked_next(&c, text, end, &at, &body);
            if (n < 0)
                return NULL;
            if (n > 0)
                memcpy(out + used, body, (size_t)n);
            used += (size_t)n;
        }
    }
    out[used] = '\0';
    return chunked_done(&c) && at == len ? out : NULL;
}

Test(chunked, decodes_in_pieces_of_any_size)
{
    const char *text = "5;x=\"a;\"\r\nhello\r\n01\r\n \r\n0005\r\nworld\r\n0\r\nA: b\r\n\r\n";
    for (size_t step = 1; step <= strlen(text); step++) {
        const char *body = decode(text, step);
        cr_assert_not_null(body, "in steps of %zu", step);
        cr_assert_str_eq(body, "hello world");
    }
}

Test(chunked, refuses_sizes_that_could_overflow)
{
    cr_assert_null(decode("fffffffffffffffff\r\n", 100));
    cr_assert_null(decode("8000000000000000\r\n", 100));
    cr_assert_null(decode("\r\n", 100));
}

Test(chunked, bounds_lines_and_trailers)
{
    char text[CHUNKED_TRAILER_MAX + 100];
    chunked c;
    const char *body;
    size_t at = 0;
    memset(text, 'x', sizeof(text));
    memcpy(text, "5;", 2);
    chunked_init(&c);
    cr_assert_eq(chunked_next(&c, text, sizeof(text), &at, &body), LINKS_HTTP_BAD_FRAMING);
    cr_assert_leq(at, (size_t)CHUNKED_LINE_MAX);

    memcpy(text, "0\r\nA:", 5);
    chunked_init(&c);
    at = 0;
    cr_assert_eq(chunked_next(&c, text, sizeof(text), &at, &body), LINKS_HTTP_BAD_FRAMING);
    cr_assert_leq(at, (size_t)CHUNKED_TRAILER_MAX + 3);
}
