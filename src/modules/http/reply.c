#include "reply.h"

#include <string.h>

#include "base/mem.h"
#include "chunked.h"
#include "head.h"
#include "lua/fastcall.h"

enum { SCRATCH_SIZE = 16384 };

struct reply {
    links_http_reply view; /* first: Lua's pointer is ours */
    uint32_t line;         /* where the line begins that is not complete yet */
    uint32_t looked;       /* bytes in which its end has been looked for */
    uint32_t nfields;
    bool begun, chunked, close, keep_alive;
    chunked decoder;
    char *scratch; /* SCRATCH_SIZE, for pieces that do not lie in one place */
    char *trailers;
};

#define IS(s, len, literal) http_equals(s, len, literal, sizeof(literal) - 1)

/* --- lists ----------------------------------------------------------------------------------- */

/* The next element of a list of tokens (RFC 9110, 5.6.1), without the blanks around it. */
static bool next_element(const char **at, const char *end, const char **element, size_t *len)
{
    const char *s = *at;
    while (s < end && (http_is_blank(*s) || *s == ','))
        s++;
    if (s == end)
        return false;
    const char *comma = memchr(s, ',', (size_t)(end - s)), *stop = comma ? comma : end;
    *at = stop;
    while (stop > s && http_is_blank(stop[-1]))
        stop--;
    *element = s;
    *len = (size_t)(stop - s);
    return true;
}

static void take_connection(reply *r, const char *value, size_t len)
{
    const char *end = value + len, *element;
    while (next_element(&value, end, &element, &len)) {
        r->close |= IS(element, len, "close");
        r->keep_alive |= IS(element, len, "keep-alive");
    }
}

/* Keep-Alive: timeout=5, max=100 */
static void take_keep_alive(reply *r, const char *value, size_t len)
{
    static const char name[] = "timeout=";
    const char *end = value + len, *element;
    while (next_element(&value, end, &element, &len)) {
        if (len < sizeof(name) || !IS(element, sizeof(name) - 1, name))
            continue;
        int64_t n = http_length(element + sizeof(name) - 1, len - (sizeof(name) - 1));
        if (n >= 0 && n < INT32_MAX)
            r->view.idle_s = (int32_t)n;
    }
}

static int coding_of(const char *name, size_t len)
{
    if (IS(name, len, "gzip") || IS(name, len, "x-gzip"))
        return LINKS_REPLY_GZIP;
    if (IS(name, len, "deflate"))
        return LINKS_REPLY_DEFLATE;
    if (IS(name, len, "br"))
        return LINKS_REPLY_BROTLI;
    return IS(name, len, "zstd") ? LINKS_REPLY_ZSTD : LINKS_REPLY_OTHER;
}

static void take_coding(reply *r, const char *value, size_t len)
{
    const char *end = value + len, *element;
    while (next_element(&value, end, &element, &len)) {
        if (IS(element, len, "identity"))
            continue;
        bool first = r->view.coding == LINKS_REPLY_IDENTITY;
        r->view.coding = (uint8_t)(first ? coding_of(element, len) : LINKS_REPLY_OTHER);
    }
}

/* --- lines ----------------------------------------------------------------------------------- */

/* HTTP/1.1 200 OK; the reason may be missing, with or without the space before it. */
static int status_line(reply *r, const char *base, size_t len)
{
    static const char version[] = "HTTP/1.";
    enum { STATUS = 9, REASON = 13 };
    links_http_reply *v = &r->view;
    if (len < STATUS + 3 || memcmp(base, version, sizeof(version) - 1) != 0 || base[8] != ' ')
        return LINKS_PROTOCOL;
    if (base[7] != '0' && base[7] != '1')
        return LINKS_PROTOCOL;
    int64_t status = http_length(base + STATUS, 3);
    if (status < 100 || (len > STATUS + 3 && base[STATUS + 3] != ' '))
        return LINKS_PROTOCOL;
    v->minor = (uint8_t)(base[7] - '0');
    v->status = (int32_t)status;
    v->reason = len > REASON ? REASON : STATUS + 3;
    v->reason_len = (int32_t)len - v->reason;
    if (len <= REASON)
        v->reason_len = 0;
    return http_is_field_value(base + v->reason, (size_t)v->reason_len) ? 0 : LINKS_PROTOCOL;
}

static int take_length(reply *r, const char *value, size_t len)
{
    if (r->view.content_length >= 0)
        return LINKS_HTTP_BAD_FRAMING;
    int64_t n = http_length(value, len);
    if (n < 0 || n > (int64_t)1 << 53)
        return LINKS_HTTP_BAD_FRAMING;
    r->view.content_length = (double)n;
    return 0;
}

/* What of a field is of interest here: where the body ends, and whether the connection goes on. */
static int take_field(reply *r, const char *base, const char *name, size_t name_len,
                      const char *value, size_t len)
{
    switch (name_len) {
    case 8:
        if (IS(name, 8, "location") && !r->view.location) {
            r->view.location = (int32_t)(value - base);
            r->view.location_len = (int32_t)len;
        }
        return 0;
    case 10:
        if (IS(name, 10, "connection"))
            take_connection(r, value, len);
        else if (IS(name, 10, "keep-alive"))
            take_keep_alive(r, value, len);
        return 0;
    case 14:
        return IS(name, 14, "content-length") ? take_length(r, value, len) : 0;
    case 16:
        if (IS(name, 16, "content-encoding"))
            take_coding(r, value, len);
        return 0;
    case 17:
        if (!IS(name, 17, "transfer-encoding"))
            return 0;
        /* RFC 9112, 6.1: an HTTP/1.0 message with it must be taken as faulty. */
        if (r->chunked || r->view.minor == 0 || !IS(value, len, "chunked"))
            return LINKS_HTTP_BAD_FRAMING;
        r->chunked = true;
        return 0;
    default:
        return 0;
    }
}

/* Name, colon, blanks, value, blanks. */
static int field_line(reply *r, const char *base, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len), *end = line + len;
    if (!colon || colon == line || !http_all_of(line, (size_t)(colon - line), HTTP_KIND_TOKEN))
        return LINKS_PROTOCOL; /* obs-fold, too: its line begins with a blank */
    if (++r->nfields > HTTP_REPLY_FIELDS_MAX)
        return LINKS_HTTP_HEADERS_TOO_LARGE;
    const char *value = colon + 1;
    while (value < end && http_is_blank(*value))
        value++;
    while (end > value && http_is_blank(end[-1]))
        end--;
    if (!http_is_field_value(value, (size_t)(end - value)))
        return LINKS_PROTOCOL;
    return take_field(r, base, line, (size_t)(colon - line), value, (size_t)(end - value));
}

/* --- the head -------------------------------------------------------------------------------- */

static void begin(reply *r)
{
    r->view = (links_http_reply){.content_length = -1, .idle_s = -1};
    r->line = r->looked = r->nfields = 0;
    r->begun = true;
    r->chunked = r->close = r->keep_alive = false;
}

/* RFC 9112, 6.3. */
static int finish(reply *r)
{
    links_http_reply *v = &r->view;
    if (v->status < 200 || v->status == 204 || v->status == 304) {
        v->framing = LINKS_REPLY_NONE;
    } else if (r->chunked) {
        if (v->content_length >= 0)
            return LINKS_HTTP_BAD_FRAMING;
        v->framing = LINKS_REPLY_CHUNKED;
        chunked_init(&r->decoder);
    } else {
        v->framing = v->content_length >= 0 ? LINKS_REPLY_LENGTH : LINKS_REPLY_CLOSE;
    }
    v->keep_alive = !r->close && (v->minor == 1 || r->keep_alive);
    return 0;
}

/* A line without its end. 1: it was the empty one. */
static int take_line(reply *r, const char *base, const char *line, size_t len)
{
    if (r->line == 0) {
        int rc = status_line(r, base, len);
        r->view.fields = (int32_t)len + 2;
        return rc;
    }
    if (len == 0)
        return 1;
    return field_line(r, base, line, len);
}

/* What has come of the first line must be the beginning of one, so that what is no HTTP at all is
 * not waited for until it is too long. */
static bool may_begin(const char *data, size_t len)
{
    static const char version[] = "HTTP/1.";
    return memcmp(data, version, len < sizeof(version) - 1 ? len : sizeof(version) - 1) == 0;
}

static long feed_lines(reply *r, const char *data, size_t len)
{
    for (;;) {
        const char *lf = memchr(data + r->looked, '\n', len - r->looked);
        size_t end = lf ? (size_t)(lf - data) : len;
        if (end >= HTTP_REPLY_HEAD_MAX)
            return LINKS_HTTP_HEADERS_TOO_LARGE;
        if (!lf) {
            r->looked = (uint32_t)len;
            return r->line == 0 && !may_begin(data, len) ? LINKS_PROTOCOL : 0;
        }
        const char *line = data + r->line;
        if (lf == line || lf[-1] != '\r')
            return LINKS_PROTOCOL;
        int rc = take_line(r, data, line, (size_t)(lf - 1 - line));
        if (rc < 0)
            return rc;
        r->line = r->looked = (uint32_t)end + 1;
        if (rc == 1) {
            rc = finish(r);
            return rc < 0 ? rc : (long)r->line;
        }
    }
}

long reply_head(reply *r, const char *data, size_t len)
{
    if (!r->begun)
        begin(r);
    long n = feed_lines(r, data, len);
    if (n != 0)
        r->begun = false;
    return n;
}

/* --- the body -------------------------------------------------------------------------------- */

static void keep_trailers(reply *r, const char *end)
{
    size_t have = (size_t)r->view.trailers_len, more = r->decoder.tail;
    if (!more)
        return;
    r->trailers = mem_realloc(r->trailers, have + more); /* as many as the decoder lets pass */
    memcpy(r->trailers + have, end - more, more);
    r->view.trailers_len += (int32_t)more;
    r->view.trailers = r->trailers;
}

/* Puts a piece behind the `total` bytes before it; returns where they are now. */
static const char *join(reply *r, const char *first, size_t total, const char *piece, size_t len)
{
    if (total == 0)
        return piece; /* one piece, the usual case, stays where it is */
    if (!r->scratch)
        r->scratch = mem_alloc(SCRATCH_SIZE);
    if (first != r->scratch)
        memcpy(r->scratch, first, total);
    memcpy(r->scratch + total, piece, len);
    return r->scratch;
}

long reply_body(reply *r, const char *data, size_t len, const char **body)
{
    size_t at = 0, total = 0, end = len;
    *body = "";
    while (at < end) {
        const char *piece = NULL;
        long n = chunked_next(&r->decoder, data, end, &at, &piece);
        if (n < 0)
            return n;
        keep_trailers(r, data + at);
        if (n == 0)
            break;
        *body = join(r, *body, total, piece, (size_t)n);
        total += (size_t)n;
        if (total >= SCRATCH_SIZE)
            break;
        /* What follows has to fit behind it. */
        end = len - at > SCRATCH_SIZE - total ? at + SCRATCH_SIZE - total : len;
    }
    r->view.used = (double)at;
    r->view.done = chunked_done(&r->decoder);
    return (long)total;
}

/* --- for Lua --------------------------------------------------------------------------------- */

links_http_reply *links_http_reply_new(void) { return &mem_new(reply)->view; }

void links_http_reply_free(links_http_reply *reply)
{
    struct reply *r = (struct reply *)reply;
    mem_free(r->scratch);
    mem_free(r->trailers);
    mem_free(r);
}

static ptrdiff_t fast_head(fastcall *call)
{
    return call->data ? reply_head(call->object, call->data, call->len) : LINKS_PROTOCOL;
}

static ptrdiff_t fast_body(fastcall *call)
{
    return call->data ? reply_body(call->object, call->data, call->len, &call->out)
                      : LINKS_HTTP_BAD_FRAMING;
}

void reply_open(void)
{
    fastcall_add("httpReplyHead", fast_head);
    fastcall_add("httpReplyBody", fast_body);
}
