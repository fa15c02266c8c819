/*
 * The answers: which version of a file, whether any at all (RFC 9110, 13), and which parts of it
 * (14). What is in memory goes into the output like any body; the rest is sent by the system from
 * the file, and the task waits while the client is slower than we are.
 */
#include "modules/http/files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fields.h"
#include "filecache.h"
#include "server.h"

/* --- paths ------------------------------------------------------------------------------------ */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The next byte of a path; -1 for what cannot be part of one: a NUL, a slash that hides behind its
 * code, a backslash, which others may take for a slash. */
static int next_byte(const char **at, const char *end, bool decoded)
{
    char c = *(*at)++;
    if (c == '%' && !decoded) {
        int high = end - *at >= 2 ? hex((*at)[0]) : -1;
        int low = high >= 0 ? hex((*at)[1]) : -1;
        if (low < 0)
            return -1;
        *at += 2;
        c = (char)(high << 4 | low);
        if (c == '/')
            return -1;
    }
    return c && c != '\\' ? (unsigned char)c : -1;
}

/* A path below the folder, as the cache and the system get it: without a slash at the beginning,
 * without "." and "..". Returns its length, or -ENOENT: what cannot be named is not there. */
static int clean_path(const http_files *f, const char *path, size_t len, bool decoded, char *to)
{
    const char *end = path + len;
    int n = 0, part = 0; /* where the part begins that we are in */
    while (path <= end) {
        int c = path < end ? next_byte(&path, end, decoded) : (path++, '/');
        if (c < 0 || n >= FILES_PATH_MAX - 1)
            return -ENOENT;
        if (c != '/') {
            to[n++] = (char)c;
            continue;
        }
        if (n > part && to[part] == '.') {
            bool dots = n - part == 1 || (n - part == 2 && to[part + 1] == '.');
            if (dots || !f->options.dotfiles)
                return -ENOENT;
        }
        if (n > part && path <= end)
            to[n++] = '/';
        part = n;
    }
    to[n] = '\0';
    return n;
}

/* --- what the request says -------------------------------------------------------------------- */

typedef struct value {
    const char *text; /* NULL: there is no such field */
    size_t len;
} value;

typedef struct wishes {
    value if_match, if_none_match, if_modified, if_unmodified, if_range, range, encoding;
} wishes;

static void note_field(wishes *w, const char *name, size_t len, value v)
{
#define WISH(member, literal)                                                                      \
    if (len == sizeof(literal) - 1 && !w->member.text &&                                           \
        http_equals(name, len, literal, sizeof(literal) - 1)) {                                    \
        w->member = v;                                                                             \
        return;                                                                                    \
    }
    switch (len) {
    case 5:
        WISH(range, "range")
        break;
    case 8:
        WISH(if_match, "if-match")
        WISH(if_range, "if-range")
        break;
    case 13:
        WISH(if_none_match, "if-none-match")
        break;
    case 15:
        WISH(encoding, "accept-encoding")
        break;
    case 17:
        WISH(if_modified, "if-modified-since")
        break;
    case 19:
        WISH(if_unmodified, "if-unmodified-since")
        break;
    default:
        break;
    }
#undef WISH
}

static wishes read_wishes(const http_request *r)
{
    wishes w;
    memset(&w, 0, sizeof(w));
    const char *base = http_request_base(r);
    for (uint32_t i = 0; i < r->head.nfields; i++) {
        const http_field *f = &r->head.fields[i];
        note_field(&w, base + f->name, f->name_len, (value){base + f->value, f->value_len});
    }
    return w;
}

int links_http_accepts(const links_http_req *lr, const char *coding)
{
    wishes w = read_wishes((const http_request *)lr);
    return w.encoding.text ? http_accept_encoding(w.encoding.text, w.encoding.len, coding) : -1;
}

/* The version that the client likes best; of those it likes equally, the smallest kind. The file
 * itself is always welcome, but only who names it may like it better. */
static const file_version *choose_version(const file_entry *e, const wishes *w)
{
    static const char *const names[VERSIONS] = {"identity", "gzip", "zstd", "br"};
    const file_version *best = &e->versions[VERSION_PLAIN];
    if (!w->encoding.text || !e->varies)
        return best;
    int best_q = 0;
    for (int i = VERSIONS - 1; i > 0; i--) {
        if (!e->versions[i].there)
            continue;
        int q = http_accept_encoding(w->encoding.text, w->encoding.len, names[i]);
        if (q > best_q) {
            best = &e->versions[i];
            best_q = q;
        }
    }
    if (http_accept_encoding(w->encoding.text, w->encoding.len, names[VERSION_PLAIN]) > best_q)
        best = &e->versions[VERSION_PLAIN];
    return best;
}

/* RFC 9110, 13.2.2: 0 to go on, or the status that ends it. */
static int check_conditions(const file_entry *e, const file_version *v, const wishes *w)
{
    if (w->if_match.text) {
        if (!http_etag_listed(w->if_match.text, w->if_match.len, v->etag, true))
            return 412;
    } else if (w->if_unmodified.text) {
        int64_t at = http_date(w->if_unmodified.text, w->if_unmodified.len);
        if (at >= 0 && e->modified_s > at)
            return 412;
    }
    if (w->if_none_match.text) {
        if (http_etag_listed(w->if_none_match.text, w->if_none_match.len, v->etag, false))
            return 304;
    } else if (w->if_modified.text) {
        int64_t at = http_date(w->if_modified.text, w->if_modified.len);
        if (at >= 0 && e->modified_s <= at)
            return 304;
    }
    return 0;
}

/* Whether the ranges are still of what the client has the rest of (RFC 9110, 13.1.5). */
static bool range_holds(const file_entry *e, const file_version *v, const value *if_range)
{
    if (!if_range->text)
        return true;
    if (if_range->len && (*if_range->text == '"' || *if_range->text == 'W'))
        return strlen(v->etag) == if_range->len &&
               memcmp(v->etag, if_range->text, if_range->len) == 0;
    return http_date(if_range->text, if_range->len) == e->modified_s;
}

/* --- heads ------------------------------------------------------------------------------------ */

/* Stages one of our lines, unless the handler has set that field. */
static void stage_line(http_request *r, const char *text, size_t len)
{
    const char *colon = memchr(text, ':', len);
    int unused;
    size_t name_len = (size_t)(colon - text);
    bool vary = name_len == 4 && http_equals(text, 4, "vary", 4);
    if (!vary && links_http_get(&r->view, text, name_len, 0, &unused))
        return;
    (void)links_http_set(&r->view, LINKS_HTTP_ADD, text, name_len, colon + 2, len - name_len - 4);
}

/* Stages lines that we have made ourselves; all at once where nothing is staged yet. */
static void stage(http_request *r, const char *lines, size_t len)
{
    if (!r->res.fields) {
        chunk *c = r->res.fields = chunk_get(&r->conn->server->net->chunks);
        memcpy(c->data, lines, len);
        c->end = (uint32_t)len;
        r->res.has_type = len > 13 && lines[0] == 'C' && lines[8] == 'T';
        return;
    }
    while (len) {
        size_t n = (size_t)((const char *)memchr(lines, '\n', len) - lines) + 1;
        stage_line(r, lines, n);
        lines += n;
        len -= n;
    }
}

static void stage_content_range(http_request *r, const http_range *range, int64_t size)
{
    char text[96];
    int n = range ? snprintf(text, sizeof(text), "bytes %lld-%lld/%lld", (long long)range->from,
                             (long long)range->to, (long long)size)
                  : snprintf(text, sizeof(text), "bytes */%lld", (long long)size);
    (void)links_http_set(&r->view, LINKS_HTTP_SET, "Content-Range", 13, text, (size_t)n);
}

/* --- bodies ----------------------------------------------------------------------------------- */

static size_t mark_of(const http_request *r)
{
    return (size_t)r->conn->server->options.high_water_mark;
}

/* The end of an answer that goes by descriptor: it has been sent but for what any answer may leave
 * in the output, or the client has left. Parks. */
static int finish_sending(http_request *r)
{
    if (http_conn_is_alive(r->conn) && r->conn->stream.out_len > mark_of(r))
        return sched_park(&r->writers, 0, SCHED_IO, "http file");
    return links_http_finish(&r->view);
}

static void append(http_request *r, const file_version *v, int64_t from, int64_t len)
{
    stream *s = &r->conn->stream;
    http_count_sent(r, (size_t)len);
    if (v->body)
        stream_append(s, v->body + from, (size_t)len);
    else
        stream_append_file(s, v->file, from, len);
}

/* A body that is one piece of the file. */
static int send_piece(http_request *r, const file_version *v, int status, int64_t from, int64_t len)
{
    if (v->body)
        return links_http_respond(&r->view, status, v->body + from, (size_t)len);
    int rc = links_http_start(&r->view, status, (double)len);
    if (rc < 0)
        return rc == LINKS_CLOSED ? links_http_finish(&r->view) : rc;
    if (!r->res.bodiless) {
        append(r, v, from, len);
        stream_flush(&r->conn->stream);
    }
    r->res.left = 0;
    return finish_sending(r);
}

enum { PART_HEAD_MAX = 512, BOUNDARY_LEN = 24 };

static int put_part_head(char *to, const char *boundary, const file_version *v,
                         const http_range *range)
{
    return snprintf(to, PART_HEAD_MAX,
                    "\r\n--%s\r\n%.*sContent-Range: bytes %lld-%lld/%lld\r\n\r\n", boundary,
                    (int)v->type_len, v->fields, (long long)range->from, (long long)range->to,
                    (long long)v->id.size);
}

static void make_boundary(char *to, const http_request *r)
{
    static uint64_t state;
    state = (state ^ ev_now_ns(r->conn->server->net->loop) ^ (uintptr_t)r) * 6364136223846793005u +
            1442695040888963407u;
    snprintf(to, BOUNDARY_LEN + 1, "links%016llx---", (unsigned long long)(state ^ state >> 29));
}

/* Several pieces (RFC 9110, 15.3.7.2). */
static int send_pieces(http_request *r, const file_version *v, const http_range *ranges, int count)
{
    char boundary[BOUNDARY_LEN + 1], text[PART_HEAD_MAX], type[64];
    make_boundary(boundary, r);
    int64_t total = 2 + 2 + BOUNDARY_LEN + 4; /* CR LF -- boundary -- CR LF */
    for (int i = 0; i < count; i++)
        total += put_part_head(text, boundary, v, &ranges[i]) + ranges[i].to - ranges[i].from + 1;
    int n = snprintf(type, sizeof(type), "multipart/byteranges; boundary=%s", boundary);
    (void)links_http_set(&r->view, LINKS_HTTP_SET, "Content-Type", 12, type, (size_t)n);

    int rc = links_http_start(&r->view, 206, (double)total);
    if (rc < 0)
        return rc == LINKS_CLOSED ? links_http_finish(&r->view) : rc;
    for (int i = 0; i < count && !r->res.bodiless; i++) {
        n = put_part_head(text, boundary, v, &ranges[i]);
        stream_append(&r->conn->stream, text, (size_t)n);
        http_count_sent(r, (size_t)n);
        append(r, v, ranges[i].from, ranges[i].to - ranges[i].from + 1);
    }
    if (!r->res.bodiless) {
        n = snprintf(text, sizeof(text), "\r\n--%s--\r\n", boundary);
        stream_append(&r->conn->stream, text, (size_t)n);
        http_count_sent(r, (size_t)n);
    }
    r->res.left = 0;
    return finish_sending(r);
}

/* --- the answer ------------------------------------------------------------------------------- */

static int send_ranges(http_request *r, const file_version *v, const value *range)
{
    http_range ranges[HTTP_RANGES_MAX];
    int count = http_ranges(range->text, range->len, v->id.size, ranges);
    if (count == HTTP_RANGES_NONE) {
        stage_content_range(r, NULL, v->id.size);
        return links_http_respond(&r->view, 416, "Range Not Satisfiable\n", 22);
    }
    stage(r, v->fields, v->fields_len);
    if (count == HTTP_RANGES_IGNORE)
        return send_piece(r, v, 200, 0, v->id.size);
    if (count > 1)
        return send_pieces(r, v, ranges, count);
    stage_content_range(r, ranges, v->id.size);
    return send_piece(r, v, 206, ranges[0].from, ranges[0].to - ranges[0].from + 1);
}

static int answer(http_files *f, http_request *r, const file_entry *e, int status)
{
    wishes w = read_wishes(r);
    const file_version *v = choose_version(e, &w);
    int ends = status == 200 ? check_conditions(e, v, &w) : 0;
    if (ends == 412)
        return links_http_respond(&r->view, 412, "Precondition Failed\n", 20);
    if (ends == 304) {
        stage(r, v->fields + v->type_len, v->fields_len - v->type_len);
        return links_http_respond(&r->view, 304, "", 0);
    }
    /* RFC 9110, 14.2: ranges are of GET alone. */
    if (w.range.text && f->options.ranges && status == 200 && r->view.method == HTTP_GET &&
        range_holds(e, v, &w.if_range))
        return send_ranges(r, v, &w.range);
    stage(r, v->fields, v->fields_len);
    return send_piece(r, v, status, 0, v->id.size);
}

int links_http_files_send(links_http_files *files, links_http_req *lr, const char *path, size_t len,
                          int flags, int status, double ticket)
{
    http_files *f = (http_files *)files;
    http_request *r = (http_request *)lr;
    char clean[FILES_PATH_MAX];
    file_entry *entry;

    if (r->res.started)
        return ticket < 0 ? finish_sending(r) : LINKS_HTTP_HEADERS_SENT;
    if (lr->method != HTTP_GET && lr->method != HTTP_HEAD)
        return LINKS_UNSUPPORTED;
    if (!path) {
        int whole;
        path = links_http_path(lr, &whole) + len;
        if ((size_t)whole < len)
            return -ENOENT;
        len = (size_t)whole - len;
    }
    int n = clean_path(f, path, len, flags & LINKS_FILES_DECODED, clean);
    if (n < 0)
        return n;
    /* The folder itself needs its slash as any other: what its pages name is below it. */
    files->slash = n ? clean[n - 1] == '/' : len > 0;
    if (!len)
        return -EISDIR;
    /* Before a file is begun, what a slow client has not taken of other answers must be out. */
    if (http_conn_is_alive(r->conn) && r->conn->stream.out_len > mark_of(r)) {
        files->ticket = ticket;
        return sched_park(&r->writers, 0, SCHED_IO, "http file");
    }
    int rc = filecache_get(f, clean, (size_t)n, ticket, &entry);
    if (rc < 0)
        return rc;
    rc = answer(f, r, entry, status);
    /* Parked in the middle of it: the next call only goes on. */
    if (rc == LINKS_AGAIN)
        files->ticket = -1;
    return rc;
}
