/*
 * Brotli (RFC 7932), where its library is installed (library.h).
 */
#ifndef LINKS_MODULES_ZLIB_BROTLI_H
#define LINKS_MODULES_ZLIB_BROTLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct brotli brotli;

/* What is to be read, and where there is room: moved on by brotli_step. */
typedef struct brotli_io {
    const uint8_t *in;
    size_t in_left;
    uint8_t *out;
    size_t out_left;
} brotli_io;

enum {
    BROTLI_MORE = 1, /* there is more to come out: make room and go on */
    BROTLI_DONE = 2, /* the input is used up, and all that was to come out of it has */
    BROTLI_END = 3,  /* so is the stream */
};

/* A stream, to compress with a quality of 0 to 11, or with -1 to decompress; NULL where the library
 * is not installed. Undone by brotli_free. */
brotli *brotli_new(int quality);
void brotli_free(brotli *b);

/* Takes and gives what it can. `mode` (to compress): 0 more comes, 1 all comes out, 2 it was the
 * last. Returns one of the above, or LINKS_PARSE. */
int brotli_step(brotli *b, int mode, brotli_io *io);

#endif
