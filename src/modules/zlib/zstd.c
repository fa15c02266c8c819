#include "modules/zlib/zstd.h"

#include "base/err.h"
#include "base/mem.h"
#include "modules/zlib/library.h"

enum {
    PARAM_LEVEL = 100,      /* of a compressor */
    PARAM_WINDOW_MAX = 100, /* of a decompressor */
    WINDOW_BITS_MAX = 23,
    OP_FINISH = 2,
};

typedef struct out_buffer {
    void *data;
    size_t size, at;
} out_buffer;

typedef struct in_buffer {
    const void *data;
    size_t size, at;
} in_buffer;

/* As <zstd.h> has it since 1.4. */
static struct {
    bool tried, found;
    void *(*compressor_new)(void);
    size_t (*compressor_set)(void *state, int param, int value);
    size_t (*compressor_step)(void *state, out_buffer *out, in_buffer *in, int op);
    size_t (*compressor_free)(void *state);
    void *(*decompressor_new)(void);
    size_t (*decompressor_set)(void *state, int param, int value);
    size_t (*decompressor_step)(void *state, out_buffer *out, in_buffer *in);
    size_t (*decompressor_free)(void *state);
    unsigned (*is_error)(size_t code);
} lib;

struct zstd {
    void *state;
    bool compresses;
};

static void open_library(void)
{
    static const char *const names[] = {"libzstd.so.1", "libzstd.so", "libzstd.1.dylib", NULL};
    if (lib.tried)
        return;
    lib.tried = true;
    void *l = library_open(names);
    lib.found = library_find(l, "ZSTD_createCCtx", &lib.compressor_new) &&
                library_find(l, "ZSTD_CCtx_setParameter", &lib.compressor_set) &&
                library_find(l, "ZSTD_compressStream2", &lib.compressor_step) &&
                library_find(l, "ZSTD_freeCCtx", &lib.compressor_free) &&
                library_find(l, "ZSTD_createDCtx", &lib.decompressor_new) &&
                library_find(l, "ZSTD_DCtx_setParameter", &lib.decompressor_set) &&
                library_find(l, "ZSTD_decompressStream", &lib.decompressor_step) &&
                library_find(l, "ZSTD_freeDCtx", &lib.decompressor_free) &&
                library_find(l, "ZSTD_isError", &lib.is_error);
}

zstd *zstd_new(int level)
{
    open_library();
    if (!lib.found)
        return NULL;
    bool compresses = level >= 0;
    void *state = compresses ? lib.compressor_new() : lib.decompressor_new();
    if (!state)
        return NULL;
    if (compresses)
        lib.compressor_set(state, PARAM_LEVEL, level);
    else
        lib.decompressor_set(state, PARAM_WINDOW_MAX, WINDOW_BITS_MAX);
    zstd *z = mem_new(zstd);
    *z = (zstd){state, compresses};
    return z;
}

void zstd_free(zstd *z)
{
    if (z->compresses)
        lib.compressor_free(z->state);
    else
        lib.decompressor_free(z->state);
    mem_free(z);
}

int zstd_step(zstd *z, int mode, brotli_io *io)
{
    out_buffer out = {io->out, io->out_left, 0};
    in_buffer in = {io->in, io->in_left, 0};
    /* Compressing, what is still to come out; decompressing, 0 at the end of a frame. */
    size_t rest = z->compresses ? lib.compressor_step(z->state, &out, &in, mode)
                                : lib.decompressor_step(z->state, &out, &in);
    if (lib.is_error(rest))
        return LINKS_PARSE;
    io->in += in.at;
    io->in_left -= in.at;
    io->out += out.at;
    io->out_left -= out.at;
    if (io->in_left)
        return BROTLI_MORE;
    if (z->compresses && mode)
        return rest ? BROTLI_MORE : mode == OP_FINISH ? BROTLI_END : BROTLI_DONE;
    if (!z->compresses && !rest)
        return BROTLI_END;
    return io->out_left ? BROTLI_DONE : BROTLI_MORE;
}
