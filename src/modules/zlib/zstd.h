/*
 * Zstandard (RFC 8878), where its library is installed: as Brotli in brotli.h, whose terms it uses.
 */
#ifndef LINKS_MODULES_ZLIB_ZSTD_H
#define LINKS_MODULES_ZLIB_ZSTD_H

#include "modules/zlib/brotli.h"

typedef struct zstd zstd;

/* A stream, to compress with a level of 1 to 19, or with -1 to decompress what needs a window of
 * 8 MiB at most (RFC 9659); NULL where the library is not installed. Undone by zstd_free. */
zstd *zstd_new(int level);
void zstd_free(zstd *z);

/* As brotli_step. To decompress, the end is that of a frame, which another one may follow. */
int zstd_step(zstd *z, int mode, brotli_io *io);

#endif
