#include "modules/log/target.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

enum {
    LOOK_MS = 1000,    /* how often it is asked whether the file is still the one of that name */
    PIPE_WHOLE = 4096, /* what a pipe takes without mixing it with what others write */
    WRITE_MAX = 1 << 20
};

/* --- writing ------------------------------------------------------------------------------- */

int log_await_room(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int n = poll(&p, 1, LOG_WAIT_MS);
    return n > 0 ? 0 : -EAGAIN;
}

/* How much of it to write: up to the last line end within `whole` bytes; all of a longer line. */
static size_t whole_lines(const struct iovec *iov, size_t len, size_t whole)
{
    if (!whole || len <= whole)
        return len;
    const char *data = iov->iov_base;
    size_t n = iov->iov_len < whole ? iov->iov_len : whole;
    while (n && data[n - 1] != '\n')
        n--;
    return n ? n : whole;
}

ssize_t log_write_some(int fd, const struct iovec iov[2], size_t len, size_t whole)
{
    struct iovec parts[2] = {iov[0], iov[1]};
    char joined[PIPE_WHOLE];
    int count = len > iov[0].iov_len ? 2 : 1;
    if (whole && count == 2 && iov[0].iov_len < whole) {
        /* A line may begin at the end of the ring and go on at its beginning. */
        size_t n =
            whole - iov[0].iov_len < iov[1].iov_len ? whole - iov[0].iov_len : iov[1].iov_len;
        memcpy(joined, iov[0].iov_base, iov[0].iov_len);
        memcpy(joined + iov[0].iov_len, iov[1].iov_base, n);
        parts[0] = (struct iovec){joined, iov[0].iov_len + n};
        len = parts[0].iov_len;
        count = 1;
    }
    size_t n = whole_lines(parts, len, whole);
    if (whole || n <= parts[0].iov_len) {
        count = 1;
        if (n < parts[0].iov_len)
            parts[0].iov_len = n;
    }
    for (;;) {
        ssize_t done = writev(fd, parts, count);
        if (done > 0)
            return done;
        if (done == 0)
            return -EIO;
        if (errno == EINTR)
            continue;
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    }
}

/* To a pipe or a terminal, whose reader may have stopped: it is asked first whether it takes
 * something, so that the thread never stays in a write. */
static ssize_t write_to_reader(int fd, const struct iovec iov[2], size_t len)
{
    int rc = log_await_room(fd);
    return rc < 0 ? rc : log_write_some(fd, iov, len, PIPE_WHOLE);
}

/* --- a descriptor -------------------------------------------------------------------------- */

typedef struct fd_target {
    log_target base; /* first */
    bool regular;
} fd_target;

static ssize_t fd_write(log_target *t, const struct iovec iov[2], size_t len)
{
    if (((fd_target *)t)->regular)
        return log_write_some(t->fd, iov, len, 0);
    return write_to_reader(t->fd, iov, len);
}

static void fd_close(log_target *t) { mem_free(t); }

log_target *log_target_fd(int fd)
{
    static const log_target_ops ops = {.write = fd_write, .close = fd_close};
    struct stat st;
    fd_target *t = mem_new(fd_target);
    t->base.ops = &ops;
    t->base.fd = fd;
    t->regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    return &t->base;
}

/* --- a file -------------------------------------------------------------------------------- */

typedef struct file_target {
    log_target base; /* first */
    char *path;
    int mode, every, keep;
    bool compress, regular;
    double max_size;
    dev_t dev;
    ino_t ino;
    int64_t looked_ms; /* whether it is still the file of that name */
    int64_t period;    /* that its lines are of */
    int64_t next_s;    /* when the next one begins: not before is it worked out again */
} file_target;

static file_target *file_of(log_target *t) { return (file_target *)t; }

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000ll + ts.tv_nsec / 1000000;
}

/* Opens the file of that name; the former one stays open where that fails. */
static int file_open(file_target *f)
{
    struct stat st;
    /* A named pipe that nobody reads is an error, and does not block. */
    int fd = open(f->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
                  (mode_t)f->mode);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    int old = f->base.fd;
    __atomic_store_n(&f->base.fd, fd, __ATOMIC_RELAXED);
    if (old >= 0)
        close(old);
    f->dev = st.st_dev;
    f->ino = st.st_ino;
    f->regular = S_ISREG(st.st_mode);
    f->looked_ms = now_ms();
    f->next_s = 0;
    if (f->every)
        f->period = log_rotate_period(f->every, st.st_size ? st.st_mtime : time(NULL));
    return 0;
}

/* Somebody has moved or removed the file, or another process has rotated it. */
static bool has_moved(const file_target *f)
{
    struct stat st;
    return stat(f->path, &st) < 0 || st.st_dev != f->dev || st.st_ino != f->ino;
}

/* Lines that go to a file which is only called differently now are not lost. Those that would go to
 * one that is nowhere wait for its folder to come back. */
static bool is_somewhere(const file_target *f)
{
    struct stat st;
    return f->base.fd >= 0 && fstat(f->base.fd, &st) == 0 && st.st_nlink > 0;
}

static int follow_name(file_target *f)
{
    if (!has_moved(f))
        return 0;
    int rc = file_open(f);
    return rc < 0 && is_somewhere(f) ? 0 : rc;
}

static bool is_due(file_target *f, size_t len)
{
    struct stat st;
    if (fstat(f->base.fd, &st) < 0 || !st.st_size)
        return false;
    if (f->max_size > 0 && (double)st.st_size + (double)len > f->max_size)
        return true;
    if (!f->every)
        return false;
    int64_t now = time(NULL);
    if (now < f->next_s)
        return false;
    f->next_s = now + 1;
    return log_rotate_period(f->every, now) != f->period;
}

/* Puts the file away and begins a new one. Of several processes that write to it one does so: the
 * others wait for the lock and then find that the file has moved. Where it cannot be done, lines go
 * to the old one: a log that is too large is better than none. */
static int rotate(file_target *f, size_t len)
{
    char name[PATH_MAX];
    int rc = 0, fd = f->base.fd;
    if (flock(fd, LOCK_EX) < 0)
        return 0;
    if (!has_moved(f)) {
        if (!is_due(f, len) || log_rotate_rename(f->path, sizeof(name), name) < 0) {
            flock(fd, LOCK_UN);
            return 0;
        }
        log_rotate_tidy(f->path, f->keep, f->compress);
    }
    rc = file_open(f);
    if (rc < 0)
        flock(fd, LOCK_UN);
    return rc < 0 && is_somewhere(f) ? 0 : rc;
}

static ssize_t file_write(log_target *t, const struct iovec iov[2], size_t len)
{
    file_target *f = file_of(t);
    bool rotates = f->max_size > 0 || f->every;
    int rc = 0;
    if (!f->regular)
        return write_to_reader(t->fd, iov, len);
    int64_t now = now_ms();
    if (rotates || now - f->looked_ms >= LOOK_MS || !is_somewhere(f)) {
        f->looked_ms = now;
        rc = follow_name(f);
    }
    if (rc == 0 && rotates && is_due(f, len))
        rc = rotate(f, len);
    return rc < 0 ? rc : log_write_some(t->fd, iov, len, 0);
}

static int file_reopen(log_target *t)
{
    file_target *f = file_of(t);
    return file_open(f);
}

static void file_close(log_target *t)
{
    if (t->fd >= 0)
        close(t->fd);
    mem_free(file_of(t)->path);
    mem_free(t);
}

log_target *log_target_file(const links_log_options *options, int *error)
{
    static const log_target_ops ops = {
        .write = file_write, .reopen = file_reopen, .close = file_close};
    file_target *f = mem_new(file_target);
    size_t len = strlen(options->path) + 1;
    f->base.ops = &ops;
    f->base.fd = -1;
    f->path = memcpy(mem_alloc(len), options->path, len);
    f->mode = options->mode;
    f->max_size = options->rotate_size;
    f->every = options->rotate_every;
    f->keep = options->keep;
    f->compress = options->compress;
    *error = file_open(f);
    if (*error < 0) {
        file_close(&f->base);
        return NULL;
    }
    return &f->base;
}
