/*
 * What the threads do. Nothing here may touch the loop, a task or Lua.
 */
#define _GNU_SOURCE /* mkostemp */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/posix.h"
#include "op.h"

enum { READ_FIRST = 16384, TEMP_TRIES = 100 };

int fs_fail(fs_op *op, const char *syscall)
{
    op->view.syscall = syscall;
    return -errno;
}

static int check(fs_op *op, int result, const char *syscall)
{
    return result < 0 ? fs_fail(op, syscall) : 0;
}

/* --- plain reading and writing --------------------------------------------------------------- */

ssize_t fs_read_all(int fd, char *data, size_t len)
{
    size_t have = 0;
    while (have < len) {
        ssize_t n = read(fd, data + have, len - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        have += (size_t)n;
    }
    return (ssize_t)have;
}

int fs_write_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

static int open_flags(int flags)
{
    int o = flags & LINKS_FS_O_READ ? (flags & LINKS_FS_O_WRITE ? O_RDWR : O_RDONLY) : O_WRONLY;
    if (flags & LINKS_FS_O_CREATE)
        o |= O_CREAT;
    if (flags & LINKS_FS_O_TRUNCATE)
        o |= O_TRUNC;
    if (flags & LINKS_FS_O_APPEND)
        o |= O_APPEND;
    if (flags & LINKS_FS_O_EXCLUSIVE)
        o |= O_EXCL;
    return o | O_CLOEXEC | O_NOCTTY;
}

static int open_path(fs_op *op)
{
    int fd;
    do
        fd = open(op->path, open_flags(op->flags), op->mode < 0 ? 0666 : op->mode);
    while (fd < 0 && errno == EINTR);
    return fd < 0 ? fs_fail(op, "open") : fd;
}

/* --- whole files ----------------------------------------------------------------------------- */

/* Reads to the end. The size is a hint only: files grow, and those in /proc say 0. */
static int read_rest(fs_op *op, int fd, size_t size)
{
    size_t room = size ? size + 1 : READ_FIRST, have = 0, max = (size_t)op->max;
    for (;;) {
        if (room > max + 1)
            room = max + 1;
        op->out = mem_realloc(op->out, room);
        ssize_t n = fs_read_all(fd, op->out + have, room - have);
        if (n < 0) {
            op->view.syscall = "read";
            return (int)n;
        }
        have += (size_t)n;
        if (have > max)
            return LINKS_TOO_LARGE;
        if (have < room)
            break;
        room *= 2;
    }
    op->view.data = op->out;
    op->view.len = have;
    return 0;
}

static int read_file(fs_op *op)
{
    struct stat st;
    int fd = open_path(op);
    if (fd < 0)
        return fd;
    int rc = check(op, fstat(fd, &st), "fstat");
    op->view.syscall = "read";
    if (rc == 0 && S_ISREG(st.st_mode) && (double)st.st_size > op->max)
        rc = LINKS_TOO_LARGE;
    if (rc == 0)
        rc = read_rest(op, fd, S_ISREG(st.st_mode) ? (size_t)st.st_size : 0);
    close(fd);
    return rc;
}

static int write_and_close(fs_op *op, int fd, bool sync)
{
    int rc = fs_write_all(fd, op->in, op->in_len);
    if (rc < 0)
        op->view.syscall = "write";
    else if (sync)
        rc = check(op, fsync(fd), "fsync");
    /* The system may say only now that there was no room (NFS, quota). */
    int closed = close(fd);
    return rc < 0 ? rc : check(op, closed, "close");
}

/* A new file beside `target`; its name in `name`. */
static int open_beside(fs_op *op, const char *target, char *name, size_t size)
{
    static atomic_uint count;
    for (int i = 0; i < TEMP_TRIES; i++) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        int n = snprintf(name, size, "%s.%d-%lx-%x~", target, (int)getpid(),
                         (unsigned long)now.tv_nsec, atomic_fetch_add(&count, 1));
        if (n < 0 || (size_t)n >= size) {
            errno = ENAMETOOLONG;
            break;
        }
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                      op->mode < 0 ? 0666 : op->mode);
        if (fd >= 0)
            return fd;
        if (errno != EEXIST)
            break;
    }
    return fs_fail(op, "open");
}

/* After a rename the folder too has to reach the disk. That it cannot be opened for reading, or
 * synced (some file systems), does not undo what was done. */
static void sync_folder(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;
    if (len >= sizeof(folder))
        return;
    memcpy(folder, path, len);
    folder[len] = '\0';
    int fd = open(slash ? (len ? folder : "/") : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd);
    close(fd);
}

/* Whoever looks finds the old file or the new one, and after a power failure too. A link stays one:
 * it is the file it points to that is replaced. */
static int write_atomically(fs_op *op)
{
    char resolved[PATH_MAX], name[PATH_MAX + 64];
    struct stat st;
    const char *target = op->path;
    bool exists = lstat(target, &st) == 0;
    if (exists && S_ISLNK(st.st_mode)) {
        if (!realpath(target, resolved))
            return fs_fail(op, "realpath");
        target = resolved;
        exists = stat(target, &st) == 0;
    }
    int fd = open_beside(op, target, name, sizeof(name));
    if (fd < 0)
        return fd;
    int rc = 0;
    if (op->mode < 0 && exists)
        rc = check(op, fchmod(fd, st.st_mode & 07777), "fchmod");
    int written = write_and_close(op, fd, true);
    if (rc == 0)
        rc = written;
    if (rc == 0)
        rc = check(op, rename(name, target), "rename");
    if (rc < 0)
        unlink(name);
    else
        sync_folder(target);
    return rc;
}

static int write_file(fs_op *op)
{
    if (op->flags & LINKS_FS_O_ATOMIC)
        return write_atomically(op);
    int fd = open_path(op);
    return fd < 0 ? fd : write_and_close(op, fd, false);
}

/* --- open files ------------------------------------------------------------------------------ */

static int open_file(fs_op *op)
{
    int fd = open_path(op);
    if (fd < 0)
        return fd;
    struct stat st;
    /* A folder can be opened, but only reading it would say that it is none of ours. */
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        close(fd);
        op->view.syscall = "open";
        return -EISDIR;
    }
    op->fd = fd;
    return 0;
}

static int read_some(fs_op *op)
{
    fs_file *f = op->file;
    double at = op->at;
    size_t max = (size_t)op->max;
    ssize_t n;
    op->out = mem_alloc(max ? max : 1);
    do
        n = f->view.seekable ? pread(f->fd, op->out, max, (off_t)at) : read(f->fd, op->out, max);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return fs_fail(op, "read");
    op->view.data = op->out;
    op->view.len = (size_t)n;
    op->view.value = (double)n;
    return 0;
}

static int write_all_at(fs_op *op)
{
    fs_file *f = op->file;
    double at = op->at;
    size_t done = 0;
    if (!f->view.seekable || (f->append && op->offset < 0)) {
        int rc = fs_write_all(f->fd, op->in, op->in_len);
        op->view.syscall = "write";
        op->view.value = (double)op->in_len;
        return rc;
    }
    while (done < op->in_len) {
        ssize_t n = pwrite(f->fd, op->in + done, op->in_len - done, (off_t)at + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fs_fail(op, "write");
        done += (size_t)n;
    }
    op->view.value = (double)done;
    return 0;
}

/* The handle is closed by now, and this operation the last that uses the descriptor. */
static int close_file(fs_op *op)
{
    if (!op->file)
        return 0;
    int fd = op->file->fd;
    op->file->fd = -1;
    return check(op, close(fd), "close");
}

/* --- temporary ones --------------------------------------------------------------------------- */

static int temp(fs_op *op)
{
    size_t len = strlen(op->path);
    op->out = mem_alloc(len + 7);
    memcpy(op->out, op->path, len);
    memcpy(op->out + len, "XXXXXX", 7);
    if (op->kind == LINKS_FS_TEMP_DIR) {
        if (!mkdtemp(op->out))
            return fs_fail(op, "mkdtemp");
    } else {
        op->fd = mkostemp(op->out, O_CLOEXEC);
        if (op->fd < 0)
            return fs_fail(op, "mkostemp");
    }
    op->view.data = op->out;
    op->view.len = len + 6;
    return 0;
}

/* --- about files ------------------------------------------------------------------------------ */

int fs_type(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return 'f';
    case S_IFDIR:
        return 'd';
    case S_IFLNK:
        return 'l';
    case S_IFIFO:
        return 'p';
    case S_IFSOCK:
        return 's';
    case S_IFCHR:
        return 'c';
    case S_IFBLK:
        return 'b';
    default:
        return '?';
    }
}

static double to_ms(struct timespec t) { return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6; }

static int give_stat(fs_op *op, int result, const struct stat *st, const char *syscall)
{
    if (result < 0)
        return fs_fail(op, syscall);
    op->view.stat = (links_fs_stat){
        .size = (double)st->st_size,
        .atime = to_ms(st->st_atim),
        .mtime = to_ms(st->st_mtim),
        .ctime = to_ms(st->st_ctim),
        .ino = (double)st->st_ino,
        .dev = (double)st->st_dev,
        .nlink = (double)st->st_nlink,
        .uid = (double)st->st_uid,
        .gid = (double)st->st_gid,
        .mode = (int32_t)(st->st_mode & 07777),
        .type = fs_type(st->st_mode),
    };
    return 0;
}

static int read_link(fs_op *op)
{
    op->out = mem_alloc(PATH_MAX);
    ssize_t n = readlink(op->path, op->out, PATH_MAX);
    if (n < 0)
        return fs_fail(op, "readlink");
    op->view.data = op->out;
    op->view.len = (size_t)n;
    return 0;
}

static int real_path(fs_op *op)
{
    op->out = mem_alloc(PATH_MAX);
    if (!realpath(op->path, op->out))
        return fs_fail(op, "realpath");
    op->view.data = op->out;
    op->view.len = strlen(op->out);
    return 0;
}

static struct timespec from_ms(double ms)
{
    double s = ms / 1e3;
    time_t whole = (time_t)s;
    if ((double)whole > s)
        whole--;
    long ns = (long)((ms - (double)whole * 1e3) * 1e6);
    return (struct timespec){whole, ns < 0 ? 0 : ns > 999999999 ? 999999999 : ns};
}

static int set_times(fs_op *op)
{
    struct timespec times[2] = {from_ms(op->a), from_ms(op->b)};
    return check(op, utimensat(AT_FDCWD, op->path, times, 0), "utimensat");
}

static int perform(fs_op *op)
{
    struct stat st;
    switch (op->kind) {
    case LINKS_FS_READ_FILE:
        return read_file(op);
    case LINKS_FS_WRITE_FILE:
        return write_file(op);
    case LINKS_FS_OPEN:
        return open_file(op);
    case LINKS_FS_TEMP_FILE:
    case LINKS_FS_TEMP_DIR:
        return temp(op);
    case LINKS_FS_READ:
        return read_some(op);
    case LINKS_FS_WRITE:
        return write_all_at(op);
    case LINKS_FS_SYNC:
        return op->flags ? check(op, fdatasync(op->file->fd), "fdatasync")
                         : check(op, fsync(op->file->fd), "fsync");
    case LINKS_FS_TRUNCATE:
        return check(op, ftruncate(op->file->fd, (off_t)op->offset), "ftruncate");
    case LINKS_FS_FSTAT:
        return give_stat(op, fstat(op->file->fd, &st), &st, "fstat");
    case LINKS_FS_CLOSE:
        return close_file(op);
    case LINKS_FS_STAT:
        return give_stat(op, stat(op->path, &st), &st, "stat");
    case LINKS_FS_LSTAT:
        return give_stat(op, lstat(op->path, &st), &st, "lstat");
    case LINKS_FS_MKDIR:
        return fs_mkdir(op);
    case LINKS_FS_READDIR:
        return fs_readdir(op);
    case LINKS_FS_REMOVE:
        return fs_remove(op);
    case LINKS_FS_RENAME:
        return check(op, rename(op->path, op->path2), "rename");
    case LINKS_FS_COPY:
        return fs_copy(op);
    case LINKS_FS_SYMLINK:
        return check(op, symlink(op->path, op->path2), "symlink");
    case LINKS_FS_READLINK:
        return read_link(op);
    case LINKS_FS_REALPATH:
        return real_path(op);
    case LINKS_FS_CHMOD:
        return check(op, chmod(op->path, (mode_t)op->mode), "chmod");
    case LINKS_FS_CHOWN:
        return check(op, chown(op->path, (uid_t)op->a, (gid_t)op->b), "chown");
    case LINKS_FS_UTIME:
        return set_times(op);
    default:
        return -EINVAL;
    }
}

void fs_run(fs_op *op) { op->rc = perform(op); }
