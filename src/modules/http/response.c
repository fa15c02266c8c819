/*
 * The answer: fields staged as the bytes they will be, a head written in one piece into the
 * stream's output, a body by length or in chunks. Nothing that Lua passes reaches the wire before
 * it was checked, so no field can end another.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/decimal.h"
#include "server.h"

enum {
    HEAD_MAX = 640,            /* of what links itself puts in a head */
    REDIRECT_MAX = 8192,       /* of a host and a target that are sent back */
    WHOLE_MAX = CHUNK_SIZE / 2 /* head and body together go into one piece up to this */
};

static http_request *req_of(links_http_req *r) { return (http_request *)r; }

static stream *out_of(http_request *r) { return &r->conn->stream; }

/* --- status -------------------------------------------------------------------------------- */

const char *links_http_reason(int status)
{
    switch (status) {
    case 103: /* these two came after http-parser's list */
        return "Early Hints";
    case 425:
        return "Too Early";
#define REASON(code, name, text)                                                                   \
    case code:                                                                                     \
        return #text;
        HTTP_STATUS_MAP(REASON)
#undef REASON
    default:
        return "Unknown";
    }
}

/* --- staged fields ------------------------------------------------------------------------- */

typedef struct line {
    char *name, *value;
    size_t name_len, value_len;
    uint32_t start, end; /* of the line in the chunk */
} line;

static bool equals(const char *a, const char *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char x = (unsigned char)a[i], y = (unsigned char)b[i];
        if (x != y && ((x ^ y) != 0x20 || (x | 0x20) < 'a' || (x | 0x20) > 'z'))
            return false;
    }
    return true;
}

/* The next staged line of that name from `from` on. */
static bool find_line(const http_response *res, uint32_t from, const char *name, size_t len,
                      line *out)
{
    chunk *c = res->fields;
    while (c && from < c->end) {
        char *start = c->data + from;
        char *eol = memchr(start, '\n', c->end - from);
        char *colon = memchr(start, ':', c->end - from);
        uint32_t next = (uint32_t)(eol + 1 - c->data);
        if ((size_t)(colon - start) == len && equals(start, name, len)) {
            *out = (line){start, colon + 2, len, (size_t)(eol - 1 - (colon + 2)), from, next};
            return true;
        }
        from = next;
    }
    return false;
}

/* Most programs spell them like this; the lengths are the same. */
#define IS(name, usual)                                                                            \
    (memcmp(name, usual, sizeof(usual) - 1) == 0 || equals(name, usual, sizeof(usual) - 1))

/* Notes which of the fields that links would add are there. */
static void note(http_response *res, const char *name, size_t len, bool there)
{
    switch (len) {
    case 4:
        if (IS(name, "Date"))
            res->has_date = there;
        break;
    case 6:
        if (IS(name, "Server"))
            res->has_server = there;
        break;
    case 12:
        if (IS(name, "Content-Type"))
            res->has_type = there;
        break;
    case 14:
        if (IS(name, "Content-Length"))
            res->has_length = there;
        break;
    default:
        break;
    }
}

static void remove_lines(http_response *res, const char *name, size_t len)
{
    line l;
    while (find_line(res, 0, name, len, &l)) {
        memmove(res->fields->data + l.start, res->fields->data + l.end, res->fields->end - l.end);
        res->fields->end -= l.end - l.start;
    }
}

static void remove_field(http_response *res, const char *name, size_t len)
{
    remove_lines(res, name, len);
    note(res, name, len, false);
}

static int check_field(const char *name, size_t name_len, const char *value, size_t value_len)
{
    if (!name_len)
        return -EINVAL;
    for (size_t i = 0; i < name_len; i++)
        if (!http_is_token((unsigned char)name[i]))
            return -EINVAL;
    if (!http_is_field_value(value, value_len))
        return -EINVAL;
    /* How the body ends is decided here; a second opinion would be smuggling. */
    if (name_len == 17 && equals(name, "transfer-encoding", 17))
        return LINKS_UNSUPPORTED;
    if (name_len == 14 && equals(name, "content-length", 14)) {
        for (size_t i = 0; i < value_len; i++)
            if (value[i] < '0' || value[i] > '9')
                return -EINVAL;
        if (!value_len || value_len > 15)
            return -EINVAL;
    }
    return 0;
}

/* "Connection" is ours: what the handler may say is that this is the last answer. */
static int set_connection(http_request *r, const char *value, size_t len)
{
    if (len == 5 && equals(value, "close", 5))
        r->conn->keep_alive = false;
    else if (len != 10 || !equals(value, "keep-alive", 10))
        return LINKS_UNSUPPORTED;
    return 0;
}

/* What says how the message is to be read, or who may, must be known before the body (RFC 9110,
 * 6.5.1); and what is of one connection only, or of the final answer, is not for a 1xx either. */
static bool is_for_head_only(const char *name, size_t len)
{
    static const char *const names[] = {
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "date",
        "host",
        "keep-alive",
        "set-cookie",
        "te",
        "trailer",
        "upgrade",
        "www-authenticate",
        "proxy-connection",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (http_equals(name, len, names[i], strlen(names[i])))
            return true;
    return false;
}

/* Adds a line to those in `*to`. */
static int add_line(http_request *r, chunk **to, const char *name, size_t name_len,
                    const char *value, size_t value_len)
{
    if (!*to)
        *to = chunk_get(&r->conn->server->net->chunks);
    chunk *c = *to;
    if (name_len + value_len + 4 > c->size - c->end)
        return LINKS_EXCEED_BUF_SIZE;
    char *at = c->data + c->end;
    memcpy(at, name, name_len);
    memcpy(at + name_len, ": ", 2);
    memcpy(at + name_len + 2, value, value_len);
    memcpy(at + name_len + 2 + value_len, "\r\n", 2);
    c->end += (uint32_t)(name_len + value_len + 4);
    return 0;
}

int links_http_set(links_http_req *lr, int mode, const char *name, size_t name_len,
                   const char *value, size_t value_len)
{
    http_request *r = req_of(lr);
    http_response *res = &r->res;
    if (res->started && mode != LINKS_HTTP_TRAILER)
        return LINKS_HTTP_HEADERS_SENT;
    int rc = check_field(name, name_len, value, value_len);
    if (rc < 0)
        return rc;
    if (mode == LINKS_HTTP_TRAILER || mode == LINKS_HTTP_INFORM) {
        if (is_for_head_only(name, name_len))
            return LINKS_UNSUPPORTED;
        http_extra *x = http_request_extra(r);
        return add_line(r, mode == LINKS_HTTP_TRAILER ? &x->trailers : &x->informs, name, name_len,
                        value, value_len);
    }
    if (name_len == 10 && equals(name, "connection", 10))
        return set_connection(r, value, value_len);

    if (mode == LINKS_HTTP_SET || (name_len == 14 && equals(name, "content-length", 14)))
        remove_lines(res, name, name_len);
    rc = add_line(r, &res->fields, name, name_len, value, value_len);
    if (rc < 0)
        return rc;
    note(res, name, name_len, true);
    return 0;
}

const char *links_http_get(const links_http_req *lr, const char *name, size_t name_len, int nth,
                           int *len)
{
    const http_response *res = &((const http_request *)lr)->res;
    line l = {0};
    for (uint32_t from = 0; find_line(res, from, name, name_len, &l); from = l.end) {
        if (nth-- == 0) {
            *len = (int)l.value_len;
            return l.value;
        }
    }
    return NULL;
}

int links_http_unset(links_http_req *lr, const char *name, size_t name_len)
{
    http_request *r = req_of(lr);
    if (r->res.started)
        return LINKS_HTTP_HEADERS_SENT;
    if (name_len == 10 && equals(name, "connection", 10))
        return 0;
    remove_field(&r->res, name, name_len);
    return 0;
}

void http_response_reset(http_request *r)
{
    chunk_put(&r->conn->server->net->chunks, r->res.fields);
    r->res = (http_response){.left = -1};
}

void links_http_reset(links_http_req *lr)
{
    if (!lr->sent)
        http_response_reset(req_of(lr));
}

/* --- heads --------------------------------------------------------------------------------- */

static char *put(char *at, const char *s, size_t len)
{
    memcpy(at, s, len);
    return at + len;
}

#define PUT(at, literal) put(at, literal, sizeof(literal) - 1)

static char *put_number(char *at, uint64_t n) { return at + decimal_write_whole(at, n); }

static char *put_status(char *at, int status)
{
    if (status == 200)
        return PUT(at, "HTTP/1.1 200 OK\r\n");
    at = PUT(at, "HTTP/1.1 ");
    at = put_number(at, (uint64_t)status);
    *at++ = ' ';
    const char *reason = links_http_reason(status);
    at = put(at, reason, strlen(reason));
    return PUT(at, "\r\n");
}

/* Server and Date, but for those that were set. */
static char *put_common(char *at, http_request *r)
{
    int len;
    const char *common = http_server_common(r->conn->server, &len);
    if (!r->res.has_date && !r->res.has_server)
        return put(at, common, (size_t)len);
    while (len > 0) {
        int n = (int)((const char *)memchr(common, '\n', (size_t)len) + 1 - common);
        if (*common == 'D' ? !r->res.has_date : !r->res.has_server)
            at = put(at, common, (size_t)n);
        common += n;
        len -= n;
    }
    return at;
}

static char *put_connection(char *at, const http_request *r, bool close)
{
    if (r->res.upgrade)
        return close ? PUT(at, "Connection: close, Upgrade\r\n")
                     : PUT(at, "Connection: Upgrade\r\n");
    if (close)
        return PUT(at, "Connection: close\r\n");
    if (r->view.minor == 0)
        return PUT(at, "Connection: keep-alive\r\n");
    return at;
}

static bool has_no_body(int status) { return status < 200 || status == 204 || status == 304; }

/* Where an answer to this request begins: the time that its output is waited for. */
static void touch(http_conn *c)
{
    if (!c->stream.out_len)
        c->wrote_ms = ev_now_ms(c->server->net->loop);
}

/* The end of the head: what says how long the body is. `length` -1: in chunks, or to the end of
 * the connection for HTTP/1.0. */
static char *put_framing(char *at, http_request *r, int status, int64_t length)
{
    if (status == 204 || status < 200)
        return at;
    if (length >= 0) {
        if (status == 304 || r->res.has_length)
            return at;
        at = PUT(at, "Content-Length: ");
        at = put_number(at, (uint64_t)length);
        return PUT(at, "\r\n");
    }
    if (r->view.minor == 0 || status == 304)
        return at;
    r->res.chunked = !r->res.bodiless;
    return PUT(at, "Transfer-Encoding: chunked\r\n");
}

/* Writes a head and leaves room for `more` bytes after it; returns where they go. */
static char *put_head(http_request *r, int status, int64_t length, size_t more)
{
    stream *s = out_of(r);
    http_response *res = &r->res;
    touch(r->conn);
    /* RFC 9110, 8.6: what never has a body has no length either. */
    if (res->has_length && (status < 200 || status == 204))
        remove_field(res, "Content-Length", 14);

    uint32_t staged = res->fields ? res->fields->end : 0;
    size_t out_before = s->out_len;
    bool fits = staged <= CHUNK_SIZE - HEAD_MAX - more;
    char *start = stream_reserve(s, HEAD_MAX + more + (fits ? staged : 0)), *at = start;
    at = put_status(at, status);
    at = put_common(at, r);
    if (fits && staged) {
        at = put(at, res->fields->data, staged);
    } else if (staged) {
        stream_commit(s, (size_t)(at - start));
        stream_append(s, res->fields->data, staged);
        start = at = stream_reserve(s, HEAD_MAX + more);
    }
    if (!res->has_type && length > 0 && !has_no_body(status))
        at = res->json ? PUT(at, "Content-Type: application/json\r\n")
                       : PUT(at, "Content-Type: text/plain; charset=utf-8\r\n");
    at = put_framing(at, r, status, length);
    at = put_connection(at, r, status != 101 && http_conn_will_close(r));
    at = PUT(at, "\r\n");
    stream_commit(s, (size_t)(at - start));
    res->status = status;
    res->head_sent = s->out_len - out_before;
    res->started = true;
    r->view.sent = 1;
    unsigned digit = (unsigned)status / 100;
    r->conn->server->view.answers[digit < 6 ? digit : 0]++;
    http_count_sent(r, s->out_len - out_before);
    return at;
}

/* --- answers ------------------------------------------------------------------------------- */

int links_http_respond(links_http_req *lr, int status, const char *body, size_t len)
{
    http_request *r = req_of(lr);
    stream *s = out_of(r);

    if (r->res.started)
        return LINKS_HTTP_HEADERS_SENT;
    if (!http_conn_is_alive(r->conn)) {
        http_conn_answered(r);
        return LINKS_CLOSED;
    }
    bool silent = r->view.method == HTTP_HEAD || has_no_body(status);
    /* A length that the handler has set counts where there is no body to count. */
    if (r->res.has_length && !(silent && !len))
        remove_field(&r->res, "Content-Length", 14);
    if (silent || len > WHOLE_MAX - HEAD_MAX) {
        put_head(r, status, (int64_t)len, 0);
        if (!silent)
            stream_append(s, body, len);
    } else {
        char *at = put_head(r, status, (int64_t)len, len);
        memcpy(at, body, len);
        stream_commit(s, len);
    }
    if (!silent)
        http_count_sent(r, len);
    http_conn_answered(r);
    return 0;
}

int links_http_respond_json(links_http_req *lr, int status, const char *body, size_t len)
{
    req_of(lr)->res.json = true;
    return links_http_respond(lr, status, body, len);
}

static int64_t staged_length(const http_request *r)
{
    int len = 0;
    const char *value = links_http_get(&r->view, "content-length", 14, 0, &len);
    int64_t n = 0;
    for (int i = 0; i < len; i++)
        n = n * 10 + (value[i] - '0');
    return n;
}

int links_http_start(links_http_req *lr, int status, double length)
{
    http_request *r = req_of(lr);
    http_response *res = &r->res;

    if (res->started)
        return LINKS_HTTP_HEADERS_SENT;
    if (!http_conn_is_alive(r->conn))
        return LINKS_CLOSED;
    res->bodiless = r->view.method == HTTP_HEAD || has_no_body(status);
    if (res->has_length && length >= 0)
        remove_field(res, "Content-Length", 14);
    res->left = res->has_length ? staged_length(r) : (int64_t)length;
    /* Without a length, HTTP/1.0 knows the end of a body by the end of the connection. */
    if (res->left < 0 && r->view.minor == 0 && !res->bodiless)
        r->conn->keep_alive = false;
    put_head(r, status, res->left, 0);
    return 0;
}

static void append_chunk(stream *s, const char *data, size_t len)
{
    char *start = stream_reserve(s, 20), *at = start;
    static const char digits[] = "0123456789abcdef";
    int shift = 60;
    while (shift && !(len >> shift))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        *at++ = digits[len >> shift & 15];
    at = PUT(at, "\r\n");
    stream_commit(s, (size_t)(at - start));
    stream_append(s, data, len);
    stream_append(s, "\r\n", 2);
}

/* The last chunk, and the trailers behind it. */
static void append_end(http_request *r)
{
    stream *s = out_of(r);
    chunk *trailers = r->extra ? r->extra->trailers : NULL;
    stream_append(s, "0\r\n", 3);
    if (trailers)
        stream_append(s, trailers->data, trailers->end);
    stream_append(s, "\r\n", 2);
}

int links_http_write(links_http_req *lr, const char *data, size_t len)
{
    http_request *r = req_of(lr);
    http_response *res = &r->res;
    stream *s = out_of(r);
    size_t mark = (size_t)r->conn->server->options.high_water_mark;

    if (!http_conn_is_alive(r->conn))
        return r->body_error ? r->body_error : LINKS_CLOSED;
    if (res->left >= 0 && len > (uint64_t)res->left)
        return LINKS_TOO_LARGE;
    if (!len)
        return 0;
    if (res->bodiless) {
        if (res->left > 0)
            res->left -= (int64_t)len;
        return (int)len;
    }
    if (s->out_len >= mark)
        return sched_park(&r->writers, 0, SCHED_IO, "http write");
    if (len > mark)
        len = mark;
    touch(r->conn);
    http_count_sent(r, len);
    if (res->chunked)
        append_chunk(s, data, len);
    else
        stream_append(s, data, len);
    if (res->left > 0)
        res->left -= (int64_t)len;
    return (int)len;
}

int links_http_finish(links_http_req *lr)
{
    http_request *r = req_of(lr);
    if (!http_conn_is_alive(r->conn)) {
        http_conn_answered(r);
        return LINKS_CLOSED;
    }
    if (r->res.left > 0 && !r->res.bodiless) {
        /* Less than was promised: only the end of the connection tells the client. */
        http_conn_broken(r);
        return 0;
    }
    if (r->res.chunked)
        append_end(r);
    http_conn_answered(r);
    return 0;
}

int links_http_inform(links_http_req *lr, int status)
{
    http_request *r = req_of(lr);
    stream *s = out_of(r);
    chunk *fields = r->extra ? r->extra->informs : NULL;
    int rc = 0;

    if (r->res.started) {
        rc = LINKS_HTTP_HEADERS_SENT;
    } else if (!http_conn_is_alive(r->conn)) {
        rc = LINKS_CLOSED;
    } else if (lr->minor == 0) {
        rc = LINKS_UNSUPPORTED;
    } else {
        touch(r->conn);
        char *start = stream_reserve(s, HEAD_MAX), *at = put_status(start, status);
        stream_commit(s, (size_t)(at - start));
        if (fields)
            stream_append(s, fields->data, fields->end);
        stream_append(s, "\r\n", 2);
    }
    if (fields) {
        chunk_put(&r->conn->server->net->chunks, fields);
        r->extra->informs = NULL;
    }
    return rc;
}

int links_http_flush(links_http_req *lr)
{
    http_request *r = req_of(lr);
    if (!http_conn_is_alive(r->conn))
        return r->body_error ? r->body_error : LINKS_CLOSED;
    if (!out_of(r)->out_len)
        return 0;
    return sched_park(&r->writers, 0, SCHED_IO, "http flush");
}

void links_http_break(links_http_req *lr) { http_conn_broken(req_of(lr)); }

void http_write_switch(http_request *r)
{
    r->res.upgrade = true;
    put_head(r, 101, -1, 0);
}

/* Of what a client has sent only its host, without the port, and its target go back; the head has
 * been checked, so neither has a line end. */
void http_write_redirect(http_conn *c, const http_request *r)
{
    int host_len = 0;
    links_http_place local;
    links_http_local(&r->view, &local);
    char at_port[8] = "";
    int i = links_http_find(&r->view, "host", 4, -1);
    const char *host = i < 0 ? "" : links_http_field_value(&r->view, i, &host_len);
    int end = host_len;
    while (end > 0 && host[end - 1] >= '0' && host[end - 1] <= '9')
        end--;
    if (end > 0 && host[end - 1] == ':')
        host_len = end - 1;
    if (!host_len || r->view.url_len + (size_t)host_len > REDIRECT_MAX || *r->view.url != '/') {
        http_write_refusal(c, 400);
        return;
    }
    if (local.port != 443)
        snprintf(at_port, sizeof(at_port), ":%d", local.port);
    enum { SIZE = HEAD_MAX + REDIRECT_MAX };
    char *at = stream_reserve(&c->stream, SIZE);
    int n = snprintf(at, SIZE,
                     "HTTP/1.1 308 Permanent Redirect\r\nLocation: https://%.*s%s%.*s\r\n"
                     "Content-Length: 0\r\nConnection: close\r\n\r\n",
                     host_len, host, at_port, (int)r->view.url_len, r->view.url);
    assert(n > 0 && n < SIZE);
    stream_commit(&c->stream, (size_t)n);
}

void http_write_refusal(http_conn *c, int status)
{
    http_server *s = c->server;
    const char *reason = links_http_reason(status);
    int common_len;
    const char *common = http_server_common(s, &common_len);
    const char *allow = status == 405 || status == 501
                            ? "Allow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n"
                            : "";
    char *at = stream_reserve(&c->stream, HEAD_MAX);
    int n = snprintf(at, HEAD_MAX,
                     "HTTP/1.1 %d %s\r\n%.*s%sContent-Type: text/plain; charset=utf-8\r\n"
                     "Content-Length: %zu\r\nConnection: close\r\n\r\n%s\n",
                     status, reason, common_len, common, allow, strlen(reason) + 1, reason);
    assert(n > 0 && n < HEAD_MAX);
    s->view.answers[status / 100]++;
    s->view.bytes_out += n;
    stream_commit(&c->stream, (size_t)n);
}
