#include "filepart.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "modules/work.h"

enum {
    READ_SIZE = 65536,
    SEEN_MS = 100, /* that what was in memory is taken to be there */
};

typedef struct ahead ahead;

/* In the data of a chunk. */
typedef struct part {
    stream *stream;
    shared_file *file;
    ahead *ahead; /* a thread is reading */
    int64_t offset, left;
    int64_t ready; /* bytes that were in memory when we looked */
} part;

/* The reading ahead. It outlives the part where the stream is closed meanwhile. */
struct ahead {
    work work;
    shared_file *file;
    part *part;
    int64_t offset;
    size_t len;
};

/* The data of a chunk need not begin where a struct may. */
static part *part_of(const chunk *c)
{
    uintptr_t at = (uintptr_t)c->data + _Alignof(part) - 1;
    return (part *)(at - at % _Alignof(part));
}

chunk *filepart_new(stream *s, shared_file *f, int64_t offset, int64_t len)
{
    chunk *c = chunk_new(&s->net->chunks, sizeof(part) + _Alignof(part));
    *part_of(c) = (part){.stream = s, .file = shared_file_ref(f), .offset = offset, .left = len};
    return c;
}

void filepart_drop(chunk *c)
{
    part *p = part_of(c);
    if (p->ahead) {
        p->ahead->part = NULL;
        work_leave(&p->ahead->work);
    }
    shared_file_unref(p->file);
}

void filepart_move(chunk *c, stream *s) { part_of(c)->stream = s; }

int64_t filepart_left(const chunk *c) { return part_of(c)->left; }

/* --- reading ahead ---------------------------------------------------------------------------- */

static void ahead_run(work *w)
{
    ahead *a = CONTAINER_OF(w, ahead, work);
    char *buffer = mem_alloc(READ_SIZE);
    for (size_t done = 0; done < a->len; done += READ_SIZE) {
        size_t n = a->len - done < READ_SIZE ? a->len - done : READ_SIZE;
        if (pread(a->file->fd, buffer, n, (off_t)(a->offset + (int64_t)done)) <= 0)
            break; /* sending will meet the same and tell */
    }
    mem_free(buffer);
}

static void ahead_over(work *w)
{
    ahead *a = CONTAINER_OF(w, ahead, work);
    part *p = a->part;
    if (!p)
        return;
    /* Ready, whatever came of it: where no thread was to be had, the loop has to wait. */
    p->ready = (int64_t)a->len;
    p->ahead = NULL;
    a->part = NULL;
    w->owned = false;
    stream_resume(p->stream);
}

static void ahead_free(work *w)
{
    ahead *a = CONTAINER_OF(w, ahead, work);
    shared_file_unref(a->file);
    mem_free(a);
}

/* False where there is no thread for it. */
static bool read_ahead(part *p, size_t len)
{
    static const work_ops ops = {ahead_run, ahead_over, ahead_free};
    ahead *a = mem_new(ahead);
    work_init(&a->work, &ops);
    a->file = shared_file_ref(p->file);
    a->part = p;
    a->offset = p->offset;
    a->len = len;
    if (work_start(&a->work) < 0) {
        ahead_free(&a->work);
        return false;
    }
    p->ahead = a;
    return true;
}

/* --- sending ---------------------------------------------------------------------------------- */

/* Whether sending will not wait for the disk. A file that many ask for is not looked at for each of
 * them. */
static bool is_in_memory(const part *p, size_t len)
{
    shared_file *f = p->file;
    int64_t now = ev_now_ms(p->stream->net->loop), end = p->offset + (int64_t)len;
    if (now - f->seen_ms > SEEN_MS) {
        f->seen = 0;
        f->seen_ms = now;
    }
    if (end <= f->seen)
        return true;
    if (!sendfile_is_cached(f->fd, p->offset, len))
        return false;
    if (p->offset <= f->seen)
        f->seen = end;
    return true;
}

ssize_t filepart_send(chunk *c)
{
    part *p = part_of(c);
    if (p->ahead)
        return LINKS_AGAIN;
    size_t len = p->left < FILEPART_WINDOW ? (size_t)p->left : FILEPART_WINDOW;
    if (p->ready <= 0) {
        if (!is_in_memory(p, len) && read_ahead(p, len))
            return LINKS_AGAIN;
        p->ready = (int64_t)len;
    }
    if (len > (size_t)p->ready)
        len = (size_t)p->ready;
    ssize_t n = stream_send_file(p->stream, p->file->fd, p->offset, len);
    if (n == 0)
        return -EIO;
    if (n > 0) {
        p->offset += n;
        p->left -= n;
        p->ready -= n;
    }
    return n;
}

/* --- files ------------------------------------------------------------------------------------ */

shared_file *shared_file_new(int fd)
{
    shared_file *f = mem_new(shared_file);
    f->fd = fd;
    f->refs = 1;
    return f;
}

shared_file *shared_file_ref(shared_file *f)
{
    f->refs++;
    return f;
}

void shared_file_unref(shared_file *f)
{
    if (!f || --f->refs > 0)
        return;
    close(f->fd);
    mem_free(f);
}
