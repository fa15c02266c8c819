#include "modules/zlib/brotli.h"

#include "base/err.h"
#include "base/mem.h"
#include "modules/zlib/library.h"

enum {
    PARAM_QUALITY = 1,
    PARAM_WINDOW = 2,
    WINDOW_BITS = 19, /* 512 KiB, of which a stream takes a few times as much to compress */
};

/* What BrotliDecoderDecompressStream returns. */
enum { RESULT_ERROR = 0, RESULT_SUCCESS = 1, RESULT_MORE_INPUT = 2 };

/* As <brotli/encode.h> and <brotli/decode.h> have it since 1.0. */
static struct {
    bool tried;
    void *encoder, *decoder; /* the libraries */
    void *(*encoder_new)(void *alloc, void *free, void *opaque);
    int (*encoder_set)(void *state, int param, uint32_t value);
    int (*encoder_step)(void *state, int op, size_t *in_left, const uint8_t **in, size_t *out_left,
                        uint8_t **out, size_t *total);
    int (*encoder_has_more)(void *state);
    int (*encoder_is_finished)(void *state);
    void (*encoder_free)(void *state);
    void *(*decoder_new)(void *alloc, void *free, void *opaque);
    int (*decoder_step)(void *state, size_t *in_left, const uint8_t **in, size_t *out_left,
                        uint8_t **out, size_t *total);
    void (*decoder_free)(void *state);
} lib;

struct brotli {
    void *state;
    bool compresses;
};

static void open_libraries(void)
{
    static const char *const encoders[] = {"libbrotlienc.so.1", "libbrotlienc.so",
                                           "libbrotlienc.1.dylib", NULL};
    static const char *const decoders[] = {"libbrotlidec.so.1", "libbrotlidec.so",
                                           "libbrotlidec.1.dylib", NULL};
    if (lib.tried)
        return;
    lib.tried = true;
    void *e = library_open(encoders), *d = library_open(decoders);
    if (library_find(e, "BrotliEncoderCreateInstance", &lib.encoder_new) &&
        library_find(e, "BrotliEncoderSetParameter", &lib.encoder_set) &&
        library_find(e, "BrotliEncoderCompressStream", &lib.encoder_step) &&
        library_find(e, "BrotliEncoderHasMoreOutput", &lib.encoder_has_more) &&
        library_find(e, "BrotliEncoderIsFinished", &lib.encoder_is_finished) &&
        library_find(e, "BrotliEncoderDestroyInstance", &lib.encoder_free))
        lib.encoder = e;
    if (library_find(d, "BrotliDecoderCreateInstance", &lib.decoder_new) &&
        library_find(d, "BrotliDecoderDecompressStream", &lib.decoder_step) &&
        library_find(d, "BrotliDecoderDestroyInstance", &lib.decoder_free))
        lib.decoder = d;
}

brotli *brotli_new(int quality)
{
    open_libraries();
    bool compresses = quality >= 0;
    if (!(compresses ? lib.encoder : lib.decoder))
        return NULL;
    void *state =
        compresses ? lib.encoder_new(NULL, NULL, NULL) : lib.decoder_new(NULL, NULL, NULL);
    if (!state)
        return NULL;
    if (compresses) {
        lib.encoder_set(state, PARAM_QUALITY, (uint32_t)quality);
        lib.encoder_set(state, PARAM_WINDOW, WINDOW_BITS);
    }
    brotli *b = mem_new(brotli);
    *b = (brotli){state, compresses};
    return b;
}

void brotli_free(brotli *b)
{
    if (b->compresses)
        lib.encoder_free(b->state);
    else
        lib.decoder_free(b->state);
    mem_free(b);
}

static int compress_step(brotli *b, int mode, brotli_io *io)
{
    if (!lib.encoder_step(b->state, mode, &io->in_left, &io->in, &io->out_left, &io->out, NULL))
        return LINKS_PARSE;
    if (lib.encoder_is_finished(b->state))
        return BROTLI_END;
    return io->in_left || lib.encoder_has_more(b->state) ? BROTLI_MORE : BROTLI_DONE;
}

int brotli_step(brotli *b, int mode, brotli_io *io)
{
    if (b->compresses)
        return compress_step(b, mode, io);
    switch (lib.decoder_step(b->state, &io->in_left, &io->in, &io->out_left, &io->out, NULL)) {
    case RESULT_ERROR:
        return LINKS_PARSE;
    case RESULT_SUCCESS:
        return BROTLI_END;
    case RESULT_MORE_INPUT:
        return BROTLI_DONE;
    default:
        return BROTLI_MORE;
    }
}
