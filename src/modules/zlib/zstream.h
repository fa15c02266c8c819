/*
 * zlib, brotli and zstd, as Lua calls them (lib/links/zlib.lua): a stream takes input piece by
 * piece and gives what comes out of it. Small pieces are done at once; what takes longer goes on on
 * a thread of the pool, and the task
 * waits. */
#ifndef LINKS_MODULES_ZLIB_ZSTREAM_H
#define LINKS_MODULES_ZLIB_ZSTREAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    LINKS_ZLIB_RAW,    /* no header */
    LINKS_ZLIB_ZLIB,   /* RFC 1950 */
    LINKS_ZLIB_GZIP,   /* RFC 1952; several members follow each other */
    LINKS_ZLIB_AUTO,   /* to inflate: gzip or zlib, by the header */
    LINKS_ZLIB_BROTLI, /* RFC 7932, where its library is installed */
    LINKS_ZLIB_ZSTD,   /* RFC 8878, the same */
};

enum {
    LINKS_ZLIB_MORE,   /* what comes out may wait for more input */
    LINKS_ZLIB_FLUSH,  /* all that went in comes out */
    LINKS_ZLIB_FINISH, /* this was the last */
};

/* The fields are valid once links_zlib_result has answered 0, until the next piece. */
typedef struct links_zlib {
    const char *data; /* what came out */
    size_t len;
    double total_in, total_out;
} links_zlib;

/* A stream; `level` 0 to 9 (brotli: 11, zstd: 1 to 19) to compress, -1 to decompress, which gives
 * `max_size` bytes at most. NULL where there is no such library. */
LINKS_API links_zlib *links_zlib_new(int format, int level, double max_size);

/* Lets go of it, whether or not a thread is at it. */
LINKS_API void links_zlib_free(links_zlib *z);

/* Takes a piece. 0, and ask links_zlib_result; -EBUSY while the last one is not done;
 * LINKS_CLOSED after the end or a failure; LINKS_POOL_FULL. */
LINKS_API int links_zlib_feed(links_zlib *z, const char *data, size_t len, int mode);

/* Parks until the piece is done. 0; LINKS_PARSE for what is no such data, LINKS_EOF where it ends
 * too early, LINKS_TOO_LARGE. */
LINKS_API int links_zlib_result(links_zlib *z);

/* Checksums, going on from `sum`. */
LINKS_API uint32_t links_zlib_crc32(uint32_t sum, const char *data, size_t len);
LINKS_API uint32_t links_zlib_adler32(uint32_t sum, const char *data, size_t len);

#endif
