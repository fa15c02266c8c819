/*
 * Bodies in chunks (RFC 9112, 7.1), decoded where they lie. http-parser's own decoder accepts
 * anything where the CR LF after a chunk should be, so this one is ours, and strict.
 */
#ifndef LINKS_MODULES_HTTP_CHUNKED_H
#define LINKS_MODULES_HTTP_CHUNKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHUNKED_LINE_MAX = 1024,    /* bytes of a chunk-size line, its extensions included */
    CHUNKED_TRAILER_MAX = 8192, /* bytes of all trailer fields */
};

typedef struct chunked {
    uint64_t left; /* bytes of the current chunk that are still to come */
    uint32_t line; /* bytes of the current line, or of the trailers */
    uint32_t tail; /* bytes that the last call has used of the trailers: the last ones it used */
    uint8_t state;
} chunked;

void chunked_init(chunked *c);

/* Looks for the next bytes of the body in `data[*at..len)` and moves *at beyond what it has used.
 * Returns a count, with *body their place; 0 when more input is needed or the end was reached
 * (chunked_done tells); LINKS_HTTP_BAD_FRAMING for what is no chunked body. */
long chunked_next(chunked *c, const char *data, size_t len, size_t *at, const char **body);

/* The last chunk and the trailers have been seen. */
bool chunked_done(const chunked *c);

#endif
