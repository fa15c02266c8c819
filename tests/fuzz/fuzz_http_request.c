/*
 * Requests as they could come: a head and a chunked body, whole and in pieces. Whatever the bytes
 * are, the answer must not depend on where they were split, what was found must lie within what
 * was given, and what was accepted must be what RFC 9112 lets nobody read differently.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "modules/http/chunked.h"
#include "modules/http/head.h"

static const http_limits limits = {.request_line = 256, .header_size = 1024, .header_count = 16};

static http_head *head_new(void)
{
    http_head *h = malloc(http_head_size(limits.header_count));
    if (!h)
        abort();
    http_head_init(h, &limits);
    return h;
}

/* Feeds in steps, each from a copy of its own, so that nothing can point into an older one. */
static int feed(http_head *h, const char *data, size_t size, size_t step)
{
    int rc = 0;
    for (size_t end = 0; end < size && rc == 0;) {
        end = size - end > step ? end + step : size;
        char *copy = malloc(end);
        if (!copy)
            abort();
        memcpy(copy, data, end);
        rc = http_head_feed(h, copy, end);
        free(copy);
    }
    return rc;
}

static void check_head(const http_head *h, const char *data, size_t len)
{
    assert(len >= 4 && memcmp(data + len - 4, "\r\n\r\n", 4) == 0);
    assert(h->nfields <= limits.header_count);
    assert(h->url_len > 0 && h->url + h->url_len < len);
    assert(!(h->chunked && h->content_length >= 0));
    /* Each LF but the last stands behind a CR and ends one line: the request's, or a field's. */
    uint32_t lines = 0;
    for (size_t i = 0; i < len; i++) {
        assert(data[i] != '\0');
        if (data[i] == '\n') {
            assert(i > 0 && data[i - 1] == '\r');
            lines++;
        } else if (data[i] == '\r') {
            assert(i + 1 < len && data[i + 1] == '\n');
        }
    }
    assert(lines == h->nfields + 2);
    for (uint32_t i = 0; i < h->nfields; i++) {
        const http_field *f = &h->fields[i];
        assert(f->name_len > 0 && f->name + f->name_len < len);
        assert(data[f->name + f->name_len] == ':');
        assert(f->value >= f->name + f->name_len && f->value + f->value_len <= len - 2);
        assert(http_is_field_value(data + f->value, f->value_len));
    }
}

/* The head in steps must come out as the head in one piece did. */
static void compare_heads(const char *data, size_t size, size_t step, const http_head *whole,
                          int rc)
{
    http_head *h = head_new();
    int rc2 = feed(h, data, size, step);
    /* Of two faults, either may be the one that is found first. */
    assert((rc < 0) == (rc2 < 0));
    assert(rc < 0 || rc == rc2);
    if (rc > 0) {
        assert(h->nfields == whole->nfields && h->content_length == whole->content_length);
        assert(h->chunked == whole->chunked && h->keep_alive == whole->keep_alive);
        assert(h->method == whole->method && h->minor == whole->minor);
        assert(h->url == whole->url && h->url_len == whole->url_len);
        assert(h->expect_continue == whole->expect_continue);
        assert(memcmp(h->fields, whole->fields, h->nfields * sizeof(http_field)) == 0);
    }
    free(h);
}

/* Decodes in steps into `out`, which holds `size`; its length, or -1 where refused. */
static long decode(const char *data, size_t size, size_t step, char *out, size_t *used)
{
    chunked c;
    size_t at = 0, len = 0;
    chunked_init(&c);
    for (size_t end = 0; end < size && !chunked_done(&c);) {
        end = size - end > step ? end + step : size;
        while (at < end && !chunked_done(&c)) {
            const char *body = NULL;
            long n = chunked_next(&c, data, end, &at, &body);
            assert(at <= end);
            if (n < 0)
                return -1;
            if (n > 0) {
                assert(body >= data && body + n <= data + end);
                memcpy(out + len, body, (size_t)n);
                len += (size_t)n;
            }
        }
    }
    *used = at;
    return (long)len;
}

static void check_body(const char *data, size_t size, size_t step)
{
    char *whole = malloc(size + 1), *parts = malloc(size + 1);
    size_t used = 0, used2 = 0;
    if (!whole || !parts)
        abort();
    long n = decode(data, size, size ? size : 1, whole, &used);
    long n2 = decode(data, size, step, parts, &used2);
    assert(n == n2);
    assert(n < 0 || (used == used2 && memcmp(whole, parts, (size_t)n) == 0));
    free(whole);
    free(parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size < 1)
        return 0;
    size_t step = bytes[0] % 16 + 1;
    const char *data = (const char *)bytes + 1;
    size--;

    http_head *h = head_new();
    int rc = feed(h, data, size, size ? size : 1);
    if (rc > 0) {
        check_head(h, data, (size_t)rc);
        check_body(data + rc, size - (size_t)rc, step);
    }
    compare_heads(data, size, step, h, rc);
    free(h);
    check_body(data, size, step);
    return 0;
}
