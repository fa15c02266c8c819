/*
 * Folders: making, reading and removing them, and copying files. Removal goes down by descriptors
 * and never through a link, so nobody who swaps a folder for a link meanwhile can lead it astray.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "op.h"

/* --- making ---------------------------------------------------------------------------------- */

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Makes what is missing above: whoever makes one at the same time is as good. */
static int make_parents(fs_op *op, mode_t mode)
{
    for (char *at = op->path + 1; *at; at++) {
        if (*at != '/' || at[-1] == '/')
            continue;
        *at = '\0';
        int rc = mkdir(op->path, mode);
        int error = rc < 0 && errno != EEXIST && !is_folder(op->path) ? errno : 0;
        *at = '/';
        if (error) {
            errno = error;
            return fs_fail(op, "mkdir");
        }
    }
    return 0;
}

int fs_mkdir(fs_op *op)
{
    mode_t mode = op->mode < 0 ? 0777 : (mode_t)op->mode;
    if (op->flags && *op->path) {
        int rc = make_parents(op, mode | S_IWUSR | S_IXUSR);
        if (rc < 0)
            return rc;
    }
    if (mkdir(op->path, mode) == 0) {
        op->view.value = 1;
        return 0;
    }
    int error = errno;
    if (op->flags && error == EEXIST && is_folder(op->path))
        return 0;
    errno = error;
    return fs_fail(op, "mkdir");
}

/* --- reading --------------------------------------------------------------------------------- */

typedef struct entries {
    char *data; /* letter, name, NUL; ... */
    size_t len, size;
    uint32_t count;
} entries;

static void add_entry(entries *e, int type, const char *name)
{
    size_t len = strlen(name) + 2;
    if (e->size - e->len < len) {
        e->size = (e->size + len) * 2;
        e->data = mem_realloc(e->data, e->size);
    }
    e->data[e->len] = (char)type;
    memcpy(e->data + e->len + 1, name, len - 1);
    e->len += len;
    e->count++;
}

static int entry_type(DIR *dir, const struct dirent *d)
{
    struct stat st;
#ifdef DT_REG
    switch (d->d_type) {
    case DT_REG:
        return 'f';
    case DT_DIR:
        return 'd';
    case DT_LNK:
        return 'l';
    default:
        break;
    }
#endif
    if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return '?';
    return fs_type(st.st_mode);
}

static bool is_dots(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a + 1, *(const char *const *)b + 1);
}

/* The entries in the order of their names: that of the file system differs from one to another. */
static void give_sorted(fs_op *op, const entries *e)
{
    const char **at = mem_alloc((e->count + 1) * sizeof(*at));
    const char *from = e->data;
    for (uint32_t i = 0; i < e->count; i++, from += strlen(from) + 1)
        at[i] = from;
    qsort(at, e->count, sizeof(*at), by_name);
    char *to = op->out = mem_alloc(e->len + 1);
    for (uint32_t i = 0; i < e->count; i++) {
        size_t len = strlen(at[i]) + 1;
        memcpy(to, at[i], len);
        to += len;
    }
    mem_free(at);
    op->view.data = op->out;
    op->view.len = e->len;
}

int fs_readdir(fs_op *op)
{
    entries e = {0};
    int rc = 0;
    DIR *dir = opendir(op->path);
    if (!dir)
        return fs_fail(op, "opendir");
    for (;;) {
        errno = 0;
        const struct dirent *d = readdir(dir);
        if (!d) {
            if (errno)
                rc = fs_fail(op, "readdir");
            break;
        }
        if (is_dots(d->d_name))
            continue;
        if (e.count >= op->max) {
            op->view.syscall = "readdir";
            rc = LINKS_TOO_LARGE;
            break;
        }
        add_entry(&e, entry_type(dir, d), d->d_name);
    }
    closedir(dir);
    if (rc == 0)
        give_sorted(op, &e);
    mem_free(e.data);
    return rc;
}

/* --- removing -------------------------------------------------------------------------------- */

static int remove_tree(fs_op *op, int parent, const char *name, int depth);

/* Removes what is in a folder. While entries go, some systems skip others: so again, until one
 * pass finds nothing. */
static int empty_folder(fs_op *op, DIR *dir, int depth)
{
    bool found;
    do {
        found = false;
        rewinddir(dir);
        for (;;) {
            errno = 0;
            const struct dirent *d = readdir(dir);
            if (!d && errno)
                return fs_fail(op, "readdir");
            if (!d)
                break;
            if (is_dots(d->d_name))
                continue;
            int rc = remove_tree(op, dirfd(dir), d->d_name, depth + 1);
            if (rc < 0 && rc != -ENOENT)
                return rc;
            found = true;
        }
    } while (found);
    return 0;
}

static int remove_tree(fs_op *op, int parent, const char *name, int depth)
{
    if (unlinkat(parent, name, 0) == 0)
        return 0;
    int error = errno;
    if (error != EISDIR && error != EPERM)
        return fs_fail(op, "unlink");
    if (depth > FS_DEPTH_MAX) {
        op->view.syscall = "remove";
        return LINKS_TOO_LARGE;
    }
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        if (errno == ENOTDIR)
            errno = error; /* a file that may not be removed */
        return fs_fail(op, "unlink");
    }
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int rc = fs_fail(op, "opendir");
        close(fd);
        return rc;
    }
    int rc = empty_folder(op, dir, depth);
    closedir(dir);
    if (rc == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0)
        rc = fs_fail(op, "rmdir");
    return rc;
}

int fs_remove(fs_op *op)
{
    if (op->flags)
        return remove_tree(op, AT_FDCWD, op->path, 0);
    if (unlink(op->path) == 0)
        return 0;
    int error = errno;
    if (error != EISDIR && error != EPERM)
        return fs_fail(op, "unlink");
    if (rmdir(op->path) == 0)
        return 0;
    if (errno == ENOTDIR)
        errno = error;
    return fs_fail(op, "rmdir");
}

/* --- copying --------------------------------------------------------------------------------- */

static int copy_bytes(fs_op *op, int from, int to)
{
    char *buffer = mem_alloc(FS_COPY_SIZE);
    double total = 0;
    ssize_t n;
    while ((n = fs_copy_some(from, to, buffer)) > 0) {
        total += (double)n;
        if (work_is_left(&op->work)) {
            n = -ECANCELED;
            break;
        }
    }
    mem_free(buffer);
    if (n < 0) {
        op->view.syscall = "copy";
        return (int)n;
    }
    op->view.value = total;
    return 0;
}

/* Opens the target: a new one, or, where that is allowed, one that is there. */
static int open_target(fs_op *op, const struct stat *source, bool *made)
{
    struct stat st;
    mode_t mode = op->mode < 0 ? source->st_mode & 0777 : (mode_t)op->mode;
    int fd = open(op->path2, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    *made = fd >= 0;
    if (fd < 0 && errno == EEXIST && !op->flags)
        fd = open(op->path2, O_WRONLY | O_CREAT | O_CLOEXEC, mode);
    if (fd < 0)
        return fs_fail(op, "open");
    int rc = 0;
    if (fstat(fd, &st) == 0 && st.st_dev == source->st_dev && st.st_ino == source->st_ino) {
        op->view.syscall = "copy";
        rc = -EINVAL; /* onto itself: emptying it would lose it */
    } else if (!*made && ftruncate(fd, 0) < 0 && S_ISREG(st.st_mode)) {
        rc = fs_fail(op, "ftruncate");
    }
    if (rc < 0)
        close(fd);
    return rc < 0 ? rc : fd;
}

int fs_copy(fs_op *op)
{
    struct stat st;
    bool made = false;
    int from = open(op->path, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return fs_fail(op, "open");
    int rc = fstat(from, &st) < 0 ? fs_fail(op, "fstat") : 0;
    if (rc == 0 && S_ISDIR(st.st_mode)) {
        op->view.syscall = "copy";
        rc = -EISDIR;
    }
    int to = rc == 0 ? open_target(op, &st, &made) : rc;
    if (to >= 0) {
        rc = copy_bytes(op, from, to);
        if (close(to) < 0 && rc == 0)
            rc = fs_fail(op, "close");
        if (rc < 0 && made)
            unlink(op->path2);
    } else {
        rc = to;
    }
    close(from);
    return rc;
}
