#include "op.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

static fs_op *op_of(links_fs_op *op) { return (fs_op *)op; }

/* --- files --------------------------------------------------------------------------------- */

typedef struct closing {
    work work;
    int fd;
} closing;

static void closing_run(work *w)
{
    closing *c = CONTAINER_OF(w, closing, work);
    close(c->fd);
    c->fd = -1;
}

static void closing_free(work *w)
{
    closing *c = CONTAINER_OF(w, closing, work);
    if (c->fd >= 0)
        close(c->fd);
    mem_free(c);
}

/* Closes without anybody to wait for it. That may take its time (NFS): not on the loop's thread,
 * unless there is no other. */
static void close_behind(int fd)
{
    static const work_ops ops = {.run = closing_run, .free = closing_free};
    closing *c = mem_new(closing);
    work_init(&c->work, &ops);
    c->fd = fd;
    if (work_start(&c->work) < 0) {
        closing_free(&c->work);
        return;
    }
    /* Nobody waits, but it is to be carried out all the same: not left, only disowned. */
    c->work.owned = false;
}

static fs_file *file_new(int fd, bool append)
{
    struct stat st;
    fs_file *f = mem_new(fs_file);
    f->fd = fd;
    f->refs = 1;
    f->append = append;
    f->view.seekable = fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode));
    return f;
}

static void file_unref(fs_file *f)
{
    if (--f->refs > 0)
        return;
    if (f->fd >= 0)
        close_behind(f->fd);
    mem_free(f);
}

void links_fs_file_free(links_fs_file *file)
{
    file->closed = 1;
    file_unref((fs_file *)file);
}

links_fs_file *links_fs_take_file(links_fs_op *op)
{
    fs_file *f = op_of(op)->opened;
    op_of(op)->opened = NULL;
    return f ? &f->view : NULL;
}

/* --- operations ---------------------------------------------------------------------------- */

static void run(work *w) { fs_run(CONTAINER_OF(w, fs_op, work)); }

static bool moves_file(const fs_op *op)
{
    return (op->kind == LINKS_FS_READ || op->kind == LINKS_FS_WRITE) && op->offset < 0;
}

/* Back on the loop's thread. What was read or written counts only for who is still there. */
static void over(work *w)
{
    fs_op *op = CONTAINER_OF(w, fs_op, work);
    if (moves_file(op)) {
        op->file->busy = false;
        if (op->rc == 0 && w->result == 0 && w->owned)
            op->file->view.at += op->view.value;
    }
    if (op->fd >= 0) {
        op->opened = file_new(op->fd, op->flags & LINKS_FS_O_APPEND);
        op->fd = -1;
    }
}

static void release(work *w)
{
    fs_op *op = CONTAINER_OF(w, fs_op, work);
    if (op->opened)
        file_unref(op->opened);
    if (op->file)
        file_unref(op->file);
    mem_free(op->in);
    mem_free(op->out);
    mem_free(op);
}

static const work_ops ops = {.run = run, .over = over, .free = release};

static bool has_nul(const char *s, size_t len) { return s && memchr(s, '\0', len); }

/* Paths are kept behind the operation. */
static fs_op *op_new(int kind, const links_fs_args *args)
{
    size_t len = args->path ? args->path_len + 1 : 0;
    size_t len2 = args->path2 ? args->path2_len + 1 : 0;
    fs_op *op = mem_zalloc(sizeof(*op) + len + len2);
    char *at = (char *)(op + 1);
    work_init(&op->work, &ops);
    op->kind = kind;
    op->fd = -1;
    op->max = args->max;
    op->offset = args->offset;
    op->a = args->a;
    op->b = args->b;
    op->flags = args->flags;
    op->mode = args->mode;
    if (args->path) {
        op->path = at;
        memcpy(at, args->path, args->path_len);
    }
    if (args->path2) {
        op->path2 = at + len;
        memcpy(at + len, args->path2, args->path2_len);
    }
    return op;
}

/* Takes hold of the file. */
static int use_file(fs_op *op, fs_file *f)
{
    if (f->view.closed)
        return LINKS_CLOSED;
    if (moves_file(op) && f->busy)
        return -EBUSY;
    if (op->offset >= 0 && !f->view.seekable && op->kind != LINKS_FS_TRUNCATE)
        return -ESPIPE;
    op->file = f;
    op->at = op->offset >= 0 ? op->offset : f->view.at;
    f->refs++;
    if (moves_file(op))
        f->busy = true;
    if (op->kind == LINKS_FS_CLOSE)
        f->view.closed = 1;
    return 0;
}

/* Nothing was begun: as if it had not been asked for. */
static int undo(fs_op *op, int rc)
{
    if (op->file && moves_file(op))
        op->file->busy = false;
    release(&op->work);
    return rc;
}

/* Closes a file that other operations still use: the last of them does it. */
static bool is_closed_later(const fs_op *op)
{
    return op->kind == LINKS_FS_CLOSE && op->file->refs > 2;
}

int links_fs_start(links_fs_op **out, int kind, const links_fs_args *args)
{
    if (has_nul(args->path, args->path_len) || has_nul(args->path2, args->path2_len))
        return -EINVAL;
    fs_op *op = op_new(kind, args);
    int rc = args->file ? use_file(op, (fs_file *)args->file) : 0;
    if (rc < 0)
        return undo(op, rc);
    if (args->data) {
        op->in = mem_alloc(args->data_len ? args->data_len : 1);
        op->in_len = args->data_len;
        memcpy(op->in, args->data, args->data_len);
    }
    if (op->file && is_closed_later(op)) {
        file_unref(op->file);
        op->file = NULL;
    }
    rc = work_start(&op->work);
    if (rc < 0)
        return undo(op, rc);
    *out = &op->view;
    return 0;
}

int links_fs_result(links_fs_op *o)
{
    fs_op *op = op_of(o);
    int rc = work_wait(&op->work, "fs");
    return rc < 0 ? rc : op->rc;
}

void links_fs_free(links_fs_op *o) { work_leave(&op_of(o)->work); }
