/*
 * Answers as a client could get them: a head and a body in chunks, whole and in pieces. Whatever
 * the bytes are, what is found must lie within what was given and must not depend on where they
 * were split, and an accepted head must be one that nobody reads
 * differently. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "modules/http/reply.h"

static char *copy_of(const char *data, size_t len)
{
    char *copy = malloc(len ? len : 1);
    if (!copy)
        abort();
    memcpy(copy, data, len);
    return copy;
}

/* Feeds in steps, each from a copy of its own, so that nothing can point into an older one. */
static long feed(links_http_reply *r, const char *data, size_t size, size_t step)
{
    long rc = 0;
    for (size_t end = 0; end < size && rc == 0;) {
        end = size - end > step ? end + step : size;
        char *copy = copy_of(data, end);
        rc = reply_head((reply *)r, copy, end);
        free(copy);
    }
    return rc;
}

static void check_head(const links_http_reply *r, const char *data, long len)
{
    assert(len >= 4 && memcmp(data + len - 4, "\r\n\r\n", 4) == 0);
    assert(r->status >= 100 && r->status <= 999 && r->minor <= 1);
    assert(r->reason >= 0 && r->reason_len >= 0 && r->reason + r->reason_len < len);
    assert(r->fields > 0 && r->fields < len);
    assert(r->location >= 0 && r->location_len >= 0 && r->location + r->location_len < len);
    assert(r->framing != LINKS_REPLY_LENGTH || r->content_length >= 0);
    assert(r->framing != LINKS_REPLY_CHUNKED || r->content_length < 0);
    for (long i = 0; i < len; i++) {
        assert(data[i] != '\0');
        if (data[i] == '\n')
            assert(i > 0 && data[i - 1] == '\r');
        else if (data[i] == '\r')
            assert(i + 1 < len && data[i + 1] == '\n');
    }
}

/* Decodes in steps into `out`, which holds `size`; its length, or -1 where refused. */
static long decode(links_http_reply *r, const char *data, size_t size, size_t step, char *out)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    size_t at = 0, len = 0;
    long rc = reply_head((reply *)r, head, sizeof(head) - 1);
    assert(rc == (long)sizeof(head) - 1);
    while (at < size && !r->done) {
        size_t n = size - at < step ? size - at : step;
        const char *body = NULL;
        char *copy = copy_of(data + at, n);
        rc = reply_body((reply *)r, copy, n, &body);
        if (rc > 0) {
            assert(r->used > 0 && r->used <= (double)n && len + (size_t)rc <= size);
            memcpy(out + len, body, (size_t)rc);
            len += (size_t)rc;
        }
        free(copy);
        if (rc < 0)
            return -1;
        at += (size_t)r->used;
    }
    return (long)len;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size < 1)
        return 0;
    size_t step = bytes[0] % 16 + 1;
    const char *data = (const char *)bytes + 1;
    size--;

    links_http_reply *whole = links_http_reply_new(), *parts = links_http_reply_new();
    long rc = feed(whole, data, size, size ? size : 1), rc2 = feed(parts, data, size, step);
    assert(rc == rc2);
    if (rc > 0) {
        check_head(whole, data, rc);
        assert(whole->status == parts->status && whole->fields == parts->fields);
        assert(whole->framing == parts->framing && whole->coding == parts->coding);
        assert(whole->content_length == parts->content_length);
        assert(whole->keep_alive == parts->keep_alive && whole->location == parts->location);
    }
    if (rc >= 0) { /* else a new head may begin, and it does below */
        links_http_reply_free(whole);
        links_http_reply_free(parts);
        whole = links_http_reply_new();
        parts = links_http_reply_new();
    }
    size_t from = rc > 0 ? (size_t)rc : 0;
    char *out = copy_of(data, size), *out2 = copy_of(data, size);
    long n = decode(whole, data + from, size - from, size ? size : 1, out);
    long n2 = decode(parts, data + from, size - from, step, out2);
    assert(n == n2);
    assert(n < 0 || memcmp(out, out2, (size_t)n) == 0);
    assert(n < 0 || whole->trailers_len == parts->trailers_len);
    free(out);
    free(out2);
    links_http_reply_free(whole);
    links_http_reply_free(parts);
    return 0;
}
