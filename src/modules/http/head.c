#include "head.h"

#include <string.h>

/* --- bytes --------------------------------------------------------------------------------- */

enum {
    TOKEN = HTTP_KIND_TOKEN,
    CONTROL = HTTP_KIND_CONTROL,
    HOST = HTTP_KIND_HOST,
    HEX = HTTP_KIND_HEX
};

/* tchar; controls without the tab; what may stand in a name or an IPv4 address (reg-name, RFC 3986,
 * 3.2.2); digits of any case. */
const uint8_t http_kinds[256] = {
    [0 ... 8] = CONTROL,
    [10 ... 31] = CONTROL,
    [127] = CONTROL,
    ['0' ... '9'] = TOKEN | HOST | HEX,
    ['A' ... 'F'] = TOKEN | HOST | HEX,
    ['G' ... 'Z'] = TOKEN | HOST,
    ['a' ... 'f'] = TOKEN | HOST | HEX,
    ['g' ... 'z'] = TOKEN | HOST,
    ['!'] = TOKEN | HOST,
    ['#'] = TOKEN,
    ['$'] = TOKEN | HOST,
    ['%'] = TOKEN | HOST,
    ['&'] = TOKEN | HOST,
    ['\''] = TOKEN | HOST,
    ['*'] = TOKEN | HOST,
    ['+'] = TOKEN | HOST,
    ['-'] = TOKEN | HOST,
    ['.'] = TOKEN | HOST,
    ['^'] = TOKEN,
    ['_'] = TOKEN | HOST,
    ['`'] = TOKEN,
    ['|'] = TOKEN,
    ['~'] = TOKEN | HOST,
    ['('] = HOST,
    [')'] = HOST,
    [','] = HOST,
    [';'] = HOST,
    ['='] = HOST,
};

/* Whether one of eight bytes may be a control: one is below a space (a tab is, too), or is 127. */
static bool may_have_control(const char *eight)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t bytes, deleted;
    memcpy(&bytes, eight, sizeof(bytes));
    deleted = bytes ^ ones * 127;
    return (((bytes - ones * ' ') & ~bytes) | ((deleted - ones) & ~deleted)) & ones * 128;
}

bool http_is_field_value(const char *value, size_t len)
{
    unsigned bad = 0;
    size_t i = 0;
    while (i + 8 <= len && !may_have_control(value + i))
        i += 8;
    for (; i < len; i++)
        bad |= http_kinds[(unsigned char)value[i]] & CONTROL;
    return !bad;
}

bool http_all_of(const char *s, size_t len, unsigned kind)
{
    for (size_t i = 0; i < len; i++)
        if (!(http_kinds[(unsigned char)s[i]] & kind))
            return false;
    return true;
}

/* "[2001:db8::1]", which need not be an address that exists; what is behind it, or NULL. */
static const char *skip_literal(const char *at, const char *end)
{
    const char *from = ++at;
    while (at < end && ((http_kinds[(unsigned char)*at] & HEX) || *at == ':' || *at == '.'))
        at++;
    return at > from && at < end && *at == ']' ? at + 1 : NULL;
}

bool http_is_authority(const char *s, size_t len)
{
    enum { PORT_MAX = 5 };
    const char *at = s, *end = s + len;
    if (at < end && *at == '[')
        at = skip_literal(at, end);
    else
        while (at < end && http_kinds[(unsigned char)*at] & HOST)
            at++;
    if (at && at < end && *at == ':')
        for (at++; at < end && end - at <= PORT_MAX && *at >= '0' && *at <= '9'; at++)
            ;
    return at == end;
}

int64_t http_length(const char *value, size_t len)
{
    int64_t n = 0;
    if (!len || len > 18)
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9')
            return -1;
        n = n * 10 + (value[i] - '0');
    }
    return n;
}

static unsigned char lower(unsigned char c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; }

bool http_equals(const char *s, size_t len, const char *lower_s, size_t lower_len)
{
    if (len != lower_len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (lower((unsigned char)s[i]) != (unsigned char)lower_s[i])
            return false;
    return true;
}

#define IS(s, len, literal) http_equals(s, len, literal, sizeof(literal) - 1)

/* --- http-parser's callbacks ---------------------------------------------------------------- */

static http_head *head_of(http_parser *p) { return p->data; }

static int on_url(http_parser *p, const char *at, size_t len)
{
    http_head *h = head_of(p);
    if (!h->url_len)
        h->url = (uint32_t)(at - h->base);
    h->url_len += (uint32_t)len;
    return 0;
}

static int refuse(http_head *h, int status)
{
    h->status = status;
    return 1;
}

static int on_field(http_parser *p, const char *at, size_t len)
{
    http_head *h = head_of(p);
    if (h->in_value || !h->nfields) {
        if (h->nfields == h->limits->header_count)
            return refuse(h, 431);
        h->fields[h->nfields++] = (http_field){.name = (uint32_t)(at - h->base)};
        h->in_value = false;
    }
    h->fields[h->nfields - 1].name_len += (uint32_t)len;
    return 0;
}

static int on_value(http_parser *p, const char *at, size_t len)
{
    http_head *h = head_of(p);
    http_field *f = &h->fields[h->nfields - 1];
    uint32_t offset = (uint32_t)(at - h->base);
    if (!h->in_value || !f->value_len)
        f->value = offset;
    else if (f->value + f->value_len != offset)
        return refuse(h, 400); /* it goes on in another line: obs-fold (RFC 9112, 5.2) */
    f->value_len += (uint32_t)len;
    h->in_value = true;
    return 0;
}

/* The body is not for http-parser: it would let chunks end in anything. Stop it here. */
static int on_complete(http_parser *p)
{
    head_of(p)->status = 200;
    return -1;
}

static const http_parser_settings settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_complete,
};

/* --- the checks ---------------------------------------------------------------------------- */

/* Method, one space, target, one space, version, CR LF. */
static int check_request_line(http_head *h, const char *base)
{
    static const char version[] = " HTTP/1.";
    const char *method = http_method_str(h->parser.method);
    size_t method_len = strlen(method);
    size_t end = h->url + h->url_len;

    if (h->parser.http_major != 1 || h->parser.http_minor > 1)
        return -505;
    if (h->url != method_len + 1 || !h->url_len || base[method_len] != ' ')
        return -400;
    if (memcmp(base + end, version, sizeof(version) - 1) != 0 || base[end + 9] != '\r' ||
        base[end + 10] != '\n')
        return -400;
    if (end + 9 > h->limits->request_line)
        return -414;
    for (size_t i = h->url; i < end; i++) {
        unsigned char c = (unsigned char)base[i];
        if (c <= ' ' || c == 127 || c == '#')
            return -400;
    }
    return 0;
}

/* Name, colon, blanks, value, CR LF, in one line, and nothing else before `end`. */
static int check_line(const http_field *f, const char *base, uint32_t end)
{
    uint32_t at = f->name + f->name_len;
    if (!f->name_len || !http_all_of(base + f->name, f->name_len, TOKEN) || base[at] != ':')
        return -400;
    uint32_t value = f->value_len ? f->value : end - 2;
    for (at++; at < value; at++)
        if (!http_is_blank(base[at]))
            return -400;
    if (value + f->value_len + 2 != end || base[end - 2] != '\r' || base[end - 1] != '\n')
        return -400;
    return http_is_field_value(base + f->value, f->value_len) ? 0 : -400;
}

static int set_content_length(http_head *h, const char *value, size_t len)
{
    if (h->content_length >= 0)
        return -400;
    h->content_length = http_length(value, len);
    return h->content_length < 0 ? -400 : 0;
}

typedef struct seen {
    const char *host;
    size_t host_len;
} seen;

/* The fields that say where the message ends and whom it is for. */
static int check_framing(http_head *h, const char *base, const http_field *f, seen *seen)
{
    const char *name = base + f->name, *value = base + f->value;
    size_t len = f->value_len;

    switch (f->name_len) {
    case 4:
        if (!IS(name, 4, "host"))
            return 0;
        if (seen->host || !http_is_authority(value, len))
            return -400;
        seen->host = value;
        seen->host_len = len;
        return 0;
    case 6:
        if (!IS(name, 6, "expect") || h->minor == 0)
            return 0;
        if (!IS(value, len, "100-continue"))
            return -417;
        h->expect_continue = true;
        return 0;
    case 14:
        return IS(name, 14, "content-length") ? set_content_length(h, value, len) : 0;
    case 17:
        if (!IS(name, 17, "transfer-encoding"))
            return 0;
        /* RFC 9112, 6.1: an HTTP/1.0 message with it must be taken as faulty. */
        if (h->chunked || h->minor == 0 || !IS(value, len, "chunked"))
            return -400;
        h->chunked = true;
        return 0;
    default:
        return 0;
    }
}

/* What is asked for, in one of the forms of RFC 9112, 3.2, and on the host that is named. */
static int check_target(const http_head *h, const char *base, const seen *seen)
{
    const char *url = base + h->url;
    if (!seen->host && h->minor == 1)
        return -400;
    /* Tunnels are a proxy's; TRACE would give scripts what is kept from them (cookies). */
    if (h->method == HTTP_CONNECT || h->method == HTTP_TRACE)
        return -405;
    if (url[0] == '/')
        return 0;
    if (url[0] == '*')
        return h->url_len == 1 && h->method == HTTP_OPTIONS ? 0 : -400;

    const char *end = url + h->url_len, *authority = memchr(url, ':', h->url_len);
    if (!authority || end - authority < 3 || memcmp(authority, "://", 3) != 0)
        return -400;
    if (!IS(url, (size_t)(authority - url), "http") && !IS(url, (size_t)(authority - url), "https"))
        return -400;
    authority += 3;
    size_t len = strcspn(authority, "/? "); /* the space before the version ends it at last */
    if (!len || !http_is_authority(authority, len))
        return -400;
    if (!seen->host)
        return 0;
    if (len != seen->host_len)
        return -400;
    for (size_t i = 0; i < len; i++)
        if (lower((unsigned char)authority[i]) != lower((unsigned char)seen->host[i]))
            return -400;
    return 0;
}

static int check(http_head *h, const char *base, uint32_t len)
{
    seen seen = {0};
    int rc = check_request_line(h, base);
    if (rc < 0)
        return rc;
    h->method = h->parser.method;
    h->minor = (uint8_t)h->parser.http_minor;

    uint32_t start = h->url + h->url_len + 11;
    if (len - start > h->limits->header_size)
        return -431;
    for (uint32_t i = 0; i < h->nfields; i++) {
        http_field *f = &h->fields[i];
        if (f->name != start)
            return -400;
        start = i + 1 < h->nfields ? h->fields[i + 1].name : len - 2;
        rc = check_line(f, base, start);
        if (rc < 0)
            return rc;
        while (f->value_len && http_is_blank(base[f->value + f->value_len - 1]))
            f->value_len--;
        rc = check_framing(h, base, f, &seen);
        if (rc < 0)
            return rc;
    }
    if (start + 2 != len || base[len - 2] != '\r' || base[len - 1] != '\n')
        return -400;
    if (h->chunked && h->content_length >= 0)
        return -400;

    unsigned flags = h->parser.flags;
    h->keep_alive =
        !(flags & F_CONNECTION_CLOSE) && (h->minor == 1 || (flags & F_CONNECTION_KEEP_ALIVE));
    return check_target(h, base, &seen);
}

/* --- the usual head ------------------------------------------------------------------------ */

typedef struct scan {
    const char *base, *at, *end;
} scan;

/* The method and the space behind it, eight bytes or more being there; -1 for a rare one. */
static int take_method(scan *s)
{
#define TAKE(text, method)                                                                         \
    if (memcmp(s->at, text, sizeof(text) - 1) == 0) {                                              \
        s->at += sizeof(text) - 1;                                                                 \
        return method;                                                                             \
    }
    TAKE("GET ", HTTP_GET)
    TAKE("POST ", HTTP_POST)
    TAKE("HEAD ", HTTP_HEAD)
    TAKE("PUT ", HTTP_PUT)
    TAKE("PATCH ", HTTP_PATCH)
    TAKE("DELETE ", HTTP_DELETE)
#undef TAKE
    return -1;
}

static bool is_of_target(unsigned char c) { return c > ' ' && c < 127 && c != '#'; }

/* Method, target, version. */
static bool scan_line(scan *s, http_head *h)
{
    static const char version[] = " HTTP/1.1\r\n";
    enum { VERSION_LEN = sizeof(version) - 1, METHOD_MAX = 8 };
    int method = s->end - s->at < METHOD_MAX ? -1 : take_method(s);
    if (method < 0)
        return false;
    const char *url = s->at;
    while (s->at < s->end && is_of_target((unsigned char)*s->at))
        s->at++;
    if (*url != '/' || s->end - s->at < VERSION_LEN || memcmp(s->at, version, VERSION_LEN) != 0 ||
        s->at + 9 - s->base > h->limits->request_line)
        return false;
    h->url = (uint32_t)(url - s->base);
    h->url_len = (uint32_t)(s->at - url);
    h->method = (uint8_t)method;
    h->minor = 1;
    s->at += VERSION_LEN;
    return true;
}

/* Name, colon, blanks, a value that is not empty, CR LF. */
static bool scan_field(scan *s, http_field *f)
{
    const char *name = s->at, *at = name, *end = s->end;
    while (at < end && http_is_token((unsigned char)*at))
        at++;
    if (at == name || at == end || *at != ':')
        return false;
    f->name = (uint32_t)(name - s->base);
    f->name_len = (uint32_t)(at - name);
    for (at++; at < end && http_is_blank(*at); at++)
        ;
    const char *value = at;
    while (end - at >= 8 && !may_have_control(at))
        at += 8;
    while (at < end && !(http_kinds[(unsigned char)*at] & CONTROL))
        at++;
    if (end - at < 2 || at == value || at[0] != '\r' || at[1] != '\n')
        return false;
    s->at = at + 2;
    while (at[-1] == ' ')
        at--;
    if (at[-1] == '\t')
        return false; /* http-parser does not take it for a number's end */
    f->value = (uint32_t)(value - s->base);
    f->value_len = (uint32_t)(at - value);
    return true;
}

/* Http-parser takes a name that only begins like this for the field itself, and refuses it beside a
 * length. So be it, however it comes. */
static bool looks_like_coding(const char *name, size_t len)
{
    enum { LEN = sizeof("transfer-encoding") - 1 };
    return len > LEN && IS(name, LEN, "transfer-encoding");
}

/* What http-parser makes of these fields, for values that have one word. */
static bool scan_connection(http_head *h, const char *name, size_t name_len, const char *value,
                            size_t len)
{
    if (name_len == 16 && IS(name, 16, "proxy-connection"))
        return false;
    if (name_len != 10 || !IS(name, 10, "connection") || IS(value, len, "keep-alive"))
        return true;
    h->keep_alive = false;
    return IS(value, len, "close");
}

/* Most heads come in one piece and are plain: http-parser takes three times as long for them, and
 * they need fewer checks. What is found is the same. Returns 0 where it is for http-parser to say:
 * a head that is not complete, that is spelled in a rare way, or that is wrong in itself. */
static int scan_head(http_head *h, const char *base, size_t len)
{
    scan s = {base, base, base + len};
    seen seen = {0};
    if (!scan_line(&s, h))
        return 0;
    const char *fields = s.at;
    h->keep_alive = true;
    while (s.end - s.at >= 2 && (s.at[0] != '\r' || s.at[1] != '\n')) {
        http_field *f = &h->fields[h->nfields];
        if (h->nfields == h->limits->header_count || !scan_field(&s, f) ||
            looks_like_coding(base + f->name, f->name_len) ||
            !scan_connection(h, base + f->name, f->name_len, base + f->value, f->value_len) ||
            check_framing(h, base, f, &seen) < 0)
            return 0;
        h->nfields++;
    }
    if (s.end - s.at < 2 || (h->chunked && h->content_length >= 0) ||
        s.at + 2 - fields > h->limits->header_size || check_target(h, base, &seen) < 0)
        return 0;
    return (int)(s.at + 2 - base);
}

/* --- feeding ------------------------------------------------------------------------------- */

size_t http_head_size(uint32_t count) { return sizeof(http_head) + count * sizeof(http_field); }

void http_head_init(http_head *h, const http_limits *limits)
{
    h->limits = limits;
    h->fed = h->url = h->url_len = h->nfields = 0;
    h->status = 0;
    h->content_length = -1;
    h->in_value = h->chunked = h->keep_alive = h->expect_continue = false;
}

/* The first bytes: the length of the head, or 0, and the parser is to go on. */
static int begin(http_head *h, const char *base, size_t len)
{
    int n = scan_head(h, base, len);
    if (n)
        return n;
    http_head_init(h, h->limits);
    http_parser_init(&h->parser, HTTP_REQUEST);
    h->parser.data = h;
    return 0;
}

/* The status for what http-parser has stopped at, which is the byte `c`. */
static int refusal(const http_head *h, unsigned char c)
{
    switch (HTTP_PARSER_ERRNO(&h->parser)) {
    case HPE_INVALID_METHOD: /* a method that nobody knows, or no method at all */
        return http_is_token(c) ? -501 : -400;
    case HPE_HEADER_OVERFLOW:
        return h->nfields ? -431 : -414;
    default:
        return h->status ? -h->status : -400;
    }
}

/* What the limits say of a head that is not complete yet. */
static int over_limit(const http_head *h, uint32_t len)
{
    if (!h->nfields) /* CR LF of the line, and of the head's end where there are no fields */
        return len > h->limits->request_line + 4 ? -414 : 0;
    uint32_t line = h->fields[0].name;
    if (line > h->limits->request_line + 2)
        return -414;
    return len - line > h->limits->header_size ? -431 : 0;
}

int http_head_feed(http_head *h, const char *base, size_t len)
{
    if (len == h->fed)
        return 0; /* http-parser takes no bytes for the end of the stream */
    int usual = h->fed ? 0 : begin(h, base, len);
    if (usual)
        return usual;
    h->base = base;
    size_t n = http_parser_execute(&h->parser, &settings, base + h->fed, len - h->fed);
    h->base = NULL;
    if (HTTP_PARSER_ERRNO(&h->parser) == HPE_CB_headers_complete) {
        /* It has stopped at the last byte of the head. */
        uint32_t end = h->fed + (uint32_t)n + 1;
        int rc = check(h, base, end);
        return rc < 0 ? rc : (int)end;
    }
    if (HTTP_PARSER_ERRNO(&h->parser) != HPE_OK) {
        int rc = over_limit(h, h->fed + (uint32_t)n);
        return rc < 0 ? rc : refusal(h, (unsigned char)base[h->fed + (n < len - h->fed ? n : 0)]);
    }
    h->fed = (uint32_t)len;
    return over_limit(h, h->fed);
}

int http_head_find(const http_head *h, const char *base, const char *name, size_t len, int after)
{
    for (uint32_t i = (uint32_t)(after + 1); i < h->nfields; i++) {
        const http_field *f = &h->fields[i];
        if (f->name_len != len)
            continue;
        size_t k = 0;
        while (k < len && lower((unsigned char)base[f->name + k]) == lower((unsigned char)name[k]))
            k++;
        if (k == len)
            return (int)i;
    }
    return -1;
}
