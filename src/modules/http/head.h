/*
 * The head of a request: request line and fields, as http-parser finds them, and the checks that
 * http-parser leaves out. What two parsers may read differently is how requests are smuggled past
 * a proxy, so everything RFC 9112 leaves to taste is refused here.
 *
 * The head is parsed as its bytes come and stays where it is: what it holds are offsets from its
 * first byte, so the buffer may move between two calls. One that has come in one piece and is plain
 * is read at a glance, without http-parser; whatever is unusual about it is left to that, and the
 * fuzz target holds the two against each other.
 */
#ifndef LINKS_MODULES_HTTP_HEAD_H
#define LINKS_MODULES_HTTP_HEAD_H

#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct http_limits {
    uint32_t request_line; /* bytes, without the line's end */
    uint32_t header_size;  /* bytes of all fields together, line ends included */
    uint32_t header_count;
} http_limits;

typedef struct http_field {
    uint32_t name, name_len;
    uint32_t value, value_len;
} http_field;

typedef struct http_head {
    http_parser parser;
    const http_limits *limits;
    const char *base; /* while feeding only */
    uint32_t fed;     /* bytes the parser has seen */
    uint32_t url, url_len;
    uint32_t nfields;
    int status;             /* of the answer to what a callback has refused */
    int64_t content_length; /* -1: none was sent */
    uint8_t method;         /* enum http_method */
    uint8_t minor;          /* HTTP/1.0 or HTTP/1.1 */
    bool in_value;          /* the last callback was for a value: the next name opens a field */
    bool chunked;
    bool keep_alive;      /* the client would go on */
    bool expect_continue; /* it waits for our word before it sends the body */
    http_field fields[];  /* limits->header_count of them */
} http_head;

/* Bytes that a head with room for `count` fields takes. */
size_t http_head_size(uint32_t count);

/* Makes ready for a new head. */
void http_head_init(http_head *h, const http_limits *limits);

/* Parses what has come: `base` is the first byte of the head, `len` all there is from there.
 * Returns the length of the head once it is complete, 0 when more is needed, or the negative
 * status of the answer (-400, -405, -414, -417, -431, -501, -505), after which the connection is to
 * close. */
int http_head_feed(http_head *h, const char *base, size_t len);

/* The index of the field after `after` (-1: from the first) with that name, in any case; -1 when
 * there is none. */
int http_head_find(const http_head *h, const char *base, const char *name, size_t len, int after);

enum { HTTP_KIND_TOKEN = 1, HTTP_KIND_CONTROL = 2, HTTP_KIND_HOST = 4, HTTP_KIND_HEX = 8 };

/* What each byte may be part of. */
extern const uint8_t http_kinds[256];

/* Whether `c` may be part of a field name or a method (tchar, RFC 9110, 5.6.2). */
static inline bool http_is_token(unsigned char c) { return http_kinds[c] & HTTP_KIND_TOKEN; }

/* A space or a tab: what may stand around a value (OWS, RFC 9110, 5.6.3). */
static inline bool http_is_blank(char c) { return c == ' ' || c == '\t'; }

/* Whether it is a host, and a port where there is one (RFC 9110, 7.2); no host is one, too. */
bool http_is_authority(const char *s, size_t len);

/* Whether all of it may stand in a field value: no control byte but the tab. */
bool http_is_field_value(const char *value, size_t len);

/* Whether each byte is of that kind. */
bool http_all_of(const char *s, size_t len, unsigned kind);

/* The number that a Content-Length field holds: digits, and nothing else; -1 for what is none. */
int64_t http_length(const char *value, size_t len);

/* Compares in any case; `lower` is in lower case. */
bool http_equals(const char *s, size_t len, const char *lower, size_t lower_len);

#endif
