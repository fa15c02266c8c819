/*
 * The answer to a request, as a client reads it (lib/links/http/client): its head, and a body in
 * chunks. What comes from a server is trusted as little as what comes from a client: the checks are
 * those of head.h, and whatever two readers may take differently is refused.
 *
 * Bytes come and go as strings of Lua's, so nothing of a connection is kept here but where the
 * parser stands. The two functions that each answer calls are given to Lua by fastcall:
 *
 *   httpReplyHead(reply, head)   all bytes that have come since the beginning of the head: its
 * length once it is complete, 0 when more is needed, or a failure httpReplyBody(reply, bytes)  the
 * next bytes of a body in chunks: what they mean, as a string, and reply->used of them: the rest is
 * for the next call; or
 * LINKS_HTTP_BAD_FRAMING */
#ifndef LINKS_MODULES_HTTP_REPLY_H
#define LINKS_MODULES_HTTP_REPLY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    HTTP_REPLY_HEAD_MAX = 65536, /* bytes of a head: LINKS_HTTP_HEADERS_TOO_LARGE beyond */
    HTTP_REPLY_FIELDS_MAX = 256, /* fields in it */
};

/* Where the body ends (RFC 9112, 6.3), the method apart: there is none after HEAD. */
enum {
    LINKS_REPLY_NONE = 0,    /* there is no body */
    LINKS_REPLY_LENGTH = 1,  /* after content_length bytes */
    LINKS_REPLY_CHUNKED = 2, /* after the last chunk */
    LINKS_REPLY_CLOSE = 3,   /* with the connection */
};

/* How it is coded. */
enum {
    LINKS_REPLY_IDENTITY = 0,
    LINKS_REPLY_GZIP = 1,
    LINKS_REPLY_DEFLATE = 2,
    LINKS_REPLY_BROTLI = 3,
    LINKS_REPLY_ZSTD = 5,
    LINKS_REPLY_OTHER = 4,
};

/* The fields that Lua may read of a reply. Places are offsets in the head. */
typedef struct links_http_reply {
    double content_length; /* -1: none was sent */
    double used;           /* bytes that the last httpReplyBody has used */
    const char *trailers;  /* once `done`: the trailer fields, with their line ends */
    int32_t trailers_len;
    int32_t status;
    int32_t reason, reason_len;
    int32_t fields;                 /* where the first field begins */
    int32_t location, location_len; /* the value of Location; 0, 0: there is none */
    int32_t idle_s;                 /* Keep-Alive: timeout=...; -1: none was sent */
    uint8_t minor;                  /* of HTTP/1.minor */
    uint8_t framing;
    uint8_t coding;
    uint8_t keep_alive; /* the server would go on */
    uint8_t done;       /* the body in chunks has ended */
} links_http_reply;

LINKS_API links_http_reply *links_http_reply_new(void);

/* The finalizer of the handle. */
LINKS_API void links_http_reply_free(links_http_reply *reply);

/* What links_http_reply_new has made, for C. */
typedef struct reply reply;

/* As httpReplyHead. The failures: LINKS_PROTOCOL, LINKS_HTTP_BAD_FRAMING where only the length of
 * the body is in doubt, LINKS_HTTP_HEADERS_TOO_LARGE. After a length or a failure, a new head may
 * begin. */
long reply_head(reply *r, const char *data, size_t len);

/* As httpReplyBody. *body is in `data`, or stays until the next call. */
long reply_body(reply *r, const char *data, size_t len, const char **body);

/* Gives Lua the two functions. */
void reply_open(void);

#endif
