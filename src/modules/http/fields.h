/*
 * Header fields of requests that say which answer is wanted: ranges, encodings, validators, dates.
 * They come from anybody, so everything here reads within its bounds and has limits.
 */
#ifndef LINKS_MODULES_HTTP_FIELDS_H
#define LINKS_MODULES_HTTP_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    HTTP_RANGES_MAX = 16, /* more in one request are not worth it: the whole is sent */
    HTTP_Q_MAX = 1000,
};

typedef struct http_range {
    int64_t from, to; /* both included */
} http_range;

enum {
    HTTP_RANGES_IGNORE = 0, /* malformed, of another unit, too many, or more than the whole */
    HTTP_RANGES_NONE = -1,  /* none of them lies within: 416 */
};

/* The ranges of a Range field (RFC 9110, 14.2) that lie within `size` bytes, in the order that they
 * were asked for: their number, or one of the above. */
int http_ranges(const char *value, size_t len, int64_t size, http_range *ranges);

/* What an Accept-Encoding field (RFC 9110, 12.5.3) says of a coding, in lower case: 0 to
 * HTTP_Q_MAX, or -1 for nothing. "*" speaks for "identity" only where that is forbidden. */
int http_accept_encoding(const char *value, size_t len, const char *coding);

/* Whether the list of an If-Match or If-None-Match field names `tag`, or is "*". `strong`: a weak
 * tag in it does not count. */
bool http_etag_listed(const char *value, size_t len, const char *tag, bool strong);

/* The seconds since 1970 that a date means, in any of the three forms (RFC 9110, 5.6.7); -1 for
 * what is no date. */
int64_t http_date(const char *value, size_t len);

enum { HTTP_DATE_SIZE = 30 };

/* Writes a date as IMF-fixdate: HTTP_DATE_SIZE bytes, the NUL included. */
void http_put_date(char *to, int64_t seconds);

#endif
