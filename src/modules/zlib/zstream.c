#include "modules/zlib/zstream.h"

#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "base/mem.h"
#include "modules/work.h"
#include "modules/zlib/zstd.h"

enum {
    INLINE_IN = 65536,    /* a larger piece goes to a thread: to deflate this takes about 2 ms */
    INLINE_OTHER = 16384, /* the same of brotli and zstd, which take longer, and to decompress what
                           * a stranger has made to take long: 0.3 ms a KiB */
    INLINE_OUT = 262144,  /* inflated beyond this, the rest goes to a thread */
    OUT_FIRST = 4096,
};

typedef struct zstream {
    links_zlib view; /* first: Lua's pointer is ours */
    work work;
    z_stream z;
    brotli *brotli; /* this */
    zstd *zstd;     /* or this; both NULL: it is zlib's */
    char *copy;     /* of input that a thread is at */
    char *out;
    size_t size;
    double max_size;
    int format, mode;
    int rc; /* of the piece */
    bool deflates;
    bool ended;    /* an end has been read; another member may follow */
    bool closed;   /* finished, or failed */
    bool threaded; /* the piece is a thread's */
} zstream;

/* zlib counts in 32 bits: what is longer goes in by parts. */
static const uInt PART = 1u << 30;

static zstream *zstream_of(links_zlib *z) { return (zstream *)z; }

static void *allocate(void *opaque, uInt count, uInt size)
{
    (void)opaque;
    return mem_alloc((size_t)count * size);
}

static void deallocate(void *opaque, void *ptr)
{
    (void)opaque;
    mem_free(ptr);
}

/* --- one piece ------------------------------------------------------------------------------- */

static void make_room(zstream *s)
{
    if (s->view.len == s->size) {
        s->size = s->size ? s->size * 2 : OUT_FIRST;
        s->out = mem_realloc(s->out, s->size);
    }
    size_t room = s->size - s->view.len;
    s->z.next_out = (Bytef *)s->out + s->view.len;
    s->z.avail_out = room < PART ? (uInt)room : PART;
}

static int call(zstream *s, int flush)
{
    make_room(s);
    uInt in = s->z.avail_in, room = s->z.avail_out;
    int rc = s->deflates ? deflate(&s->z, flush) : inflate(&s->z, Z_NO_FLUSH);
    s->view.total_in += in - s->z.avail_in;
    s->view.total_out += room - s->z.avail_out;
    s->view.len += room - s->z.avail_out;
    return rc;
}

static int deflate_piece(zstream *s, size_t *left)
{
    static const int flushes[] = {Z_NO_FLUSH, Z_SYNC_FLUSH, Z_FINISH};
    for (;;) {
        uInt part = *left < PART ? (uInt)*left : PART;
        bool last = part == *left;
        s->z.avail_in = part;
        int rc = call(s, last ? flushes[s->mode] : Z_NO_FLUSH);
        *left -= part - s->z.avail_in;
        if (rc == Z_STREAM_ERROR)
            return LINKS_PARSE;
        if (rc == Z_STREAM_END)
            return 0;
        /* Room that was left says that all has come out. */
        if (last && s->z.avail_out && s->mode != LINKS_ZLIB_FINISH)
            return 0;
    }
}

/* What follows the end: nothing, zeros to fill up, or with gzip another member. */
static int after_end(zstream *s, size_t *left)
{
    while (*left && !*s->z.next_in && s->format != LINKS_ZLIB_RAW) {
        s->z.next_in++;
        --*left;
    }
    if (!*left)
        return 0;
    bool gzip = s->format == LINKS_ZLIB_GZIP || s->format == LINKS_ZLIB_AUTO;
    if (!gzip || *s->z.next_in != 0x1f || inflateReset(&s->z) != Z_OK)
        return LINKS_PARSE;
    s->ended = false;
    return 1;
}

/* Until the input is used up, or more than `pause` has come out: 1 then. */
static int inflate_piece(zstream *s, size_t *left, size_t pause)
{
    for (;;) {
        int rc = s->ended ? after_end(s, left) : 1;
        if (rc <= 0)
            return rc;
        uInt part = *left < PART ? (uInt)*left : PART;
        s->z.avail_in = part;
        rc = call(s, Z_NO_FLUSH);
        *left -= part - s->z.avail_in;
        if (s->view.total_out > s->max_size)
            return LINKS_TOO_LARGE;
        if (rc == Z_STREAM_END)
            s->ended = true;
        else if (rc == Z_BUF_ERROR || (rc == Z_OK && !*left && s->z.avail_out))
            return 0;
        else if (rc != Z_OK)
            return LINKS_PARSE;
        if (s->view.len > pause)
            return 1;
    }
}

static int step(zstream *s, brotli_io *io)
{
    return s->zstd ? zstd_step(s->zstd, s->mode, io) : brotli_step(s->brotli, s->mode, io);
}

/* The same of brotli and zstd, both ways. */
static int other_piece(zstream *s, size_t *left, size_t pause)
{
    for (;;) {
        make_room(s);
        brotli_io io = {s->z.next_in, *left, s->z.next_out, s->z.avail_out};
        int rc = step(s, &io);
        size_t made = s->z.avail_out - io.out_left;
        s->view.total_in += (double)(*left - io.in_left);
        s->view.total_out += (double)made;
        s->view.len += made;
        s->z.next_in = (Bytef *)io.in;
        *left = io.in_left;
        if (rc < 0)
            return rc;
        if (!s->deflates && s->view.total_out > s->max_size)
            return LINKS_TOO_LARGE;
        if (rc == BROTLI_END) {
            s->ended = true;
            return *left ? LINKS_PARSE : 0;
        }
        if (rc == BROTLI_DONE)
            return 0;
        if (!s->deflates && s->view.len > pause)
            return 1;
    }
}

/* Does what is left of the piece, up to `pause` bytes of output; 1 where it has to go on. */
static int do_piece(zstream *s, size_t *left, size_t pause)
{
    int rc;
    if (s->zstd && *left)
        s->ended = false; /* another frame */
    if (s->brotli || s->zstd)
        rc = s->ended && *left ? LINKS_PARSE : other_piece(s, left, pause);
    else
        rc = s->deflates ? deflate_piece(s, left) : inflate_piece(s, left, pause);
    if (rc > 0)
        return rc;
    if (rc == 0 && s->mode == LINKS_ZLIB_FINISH && !s->deflates && !s->ended)
        rc = LINKS_EOF;
    if (rc < 0 || s->mode == LINKS_ZLIB_FINISH)
        s->closed = true;
    s->rc = rc;
    s->view.data = s->out ? s->out : "";
    return 0;
}

/* --- on a thread ------------------------------------------------------------------------------ */

typedef struct piece {
    size_t left;
    char data[];
} piece;

static void run(work *w)
{
    zstream *s = CONTAINER_OF(w, zstream, work);
    piece *p = (piece *)(void *)s->copy;
    do_piece(s, &p->left, SIZE_MAX);
}

static void over(work *w)
{
    zstream *s = CONTAINER_OF(w, zstream, work);
    if (w->result < 0) {
        s->rc = w->result;
        s->closed = true;
    }
    mem_free(s->copy);
    s->copy = NULL;
}

static void release(work *w)
{
    zstream *s = CONTAINER_OF(w, zstream, work);
    if (s->brotli)
        brotli_free(s->brotli);
    else if (s->zstd)
        zstd_free(s->zstd);
    else if (s->deflates)
        deflateEnd(&s->z);
    else
        inflateEnd(&s->z);
    mem_free(s->copy);
    mem_free(s->out);
    mem_free(s);
}

static int go_on_elsewhere(zstream *s, const char *data, size_t left)
{
    piece *p = mem_alloc(sizeof(*p) + left);
    p->left = left;
    memcpy(p->data, data, left);
    s->copy = (char *)p;
    s->z.next_in = (Bytef *)p->data;
    s->threaded = true;
    int rc = work_start(&s->work);
    if (rc < 0) {
        over(&s->work);
        s->threaded = false;
        s->closed = true;
    }
    return rc;
}

/* --- for Lua ---------------------------------------------------------------------------------- */

static int window_bits(int format)
{
    switch (format) {
    case LINKS_ZLIB_RAW:
        return -MAX_WBITS;
    case LINKS_ZLIB_GZIP:
        return MAX_WBITS + 16;
    case LINKS_ZLIB_AUTO:
        return MAX_WBITS + 32;
    default:
        return MAX_WBITS;
    }
}

links_zlib *links_zlib_new(int format, int level, double max_size)
{
    static const work_ops ops = {run, over, release};
    zstream *s = mem_new(zstream);
    work_init(&s->work, &ops);
    s->z.zalloc = allocate;
    s->z.zfree = deallocate;
    s->format = format;
    s->deflates = level >= 0;
    s->max_size = max_size;
    if (format == LINKS_ZLIB_BROTLI || format == LINKS_ZLIB_ZSTD) {
        if (format == LINKS_ZLIB_ZSTD)
            s->zstd = zstd_new(level);
        else
            s->brotli = brotli_new(level);
        if (s->zstd || s->brotli)
            return &s->view;
        mem_free(s);
        return NULL;
    }
    int rc = s->deflates ? deflateInit2(&s->z, level, Z_DEFLATED, window_bits(format), 8,
                                        Z_DEFAULT_STRATEGY)
                         : inflateInit2(&s->z, window_bits(format));
    if (rc != Z_OK) {
        mem_free(s);
        return NULL;
    }
    return &s->view;
}

void links_zlib_free(links_zlib *z) { work_leave(&zstream_of(z)->work); }

int links_zlib_feed(links_zlib *z, const char *data, size_t len, int mode)
{
    zstream *s = zstream_of(z);
    if (s->threaded && !work_is_over(&s->work))
        return -EBUSY;
    if (s->closed)
        return LINKS_CLOSED;
    s->threaded = false;
    s->mode = mode;
    s->view.len = 0;
    if (s->size > INLINE_OUT) {
        /* A piece that was large is no reason to keep so much. */
        mem_free(s->out);
        s->out = NULL;
        s->size = 0;
    }
    if (len > (size_t)(s->brotli || s->zstd || !s->deflates ? INLINE_OTHER : INLINE_IN))
        return go_on_elsewhere(s, data, len);
    s->z.next_in = (Bytef *)data;
    if (do_piece(s, &len, INLINE_OUT))
        return go_on_elsewhere(s, (const char *)s->z.next_in, len);
    return 0;
}

int links_zlib_result(links_zlib *z)
{
    zstream *s = zstream_of(z);
    if (s->threaded) {
        int rc = work_wait(&s->work, "zlib");
        if (rc < 0)
            return rc;
    }
    return s->rc;
}

uint32_t links_zlib_crc32(uint32_t sum, const char *data, size_t len)
{
    return (uint32_t)crc32_z(sum, (const Bytef *)data, len);
}

uint32_t links_zlib_adler32(uint32_t sum, const char *data, size_t len)
{
    return (uint32_t)adler32_z(sum, (const Bytef *)data, len);
}
