#include "modules/shared/region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

/* FreeBSD writes the pages of a mapped file to the disk now and then, unless it is told not to. */
#ifndef MAP_NOSYNC
#define MAP_NOSYNC 0
#endif

enum {
    MAX_TRIES = 1000,
    LAYOUT = 2, /* of dictionaries and queues: to be raised with each change of it */
};

char *region_path(const char *name, size_t len)
{
    const char *folder = "/dev/shm";
    struct stat about;
    if (stat(folder, &about) < 0 || !S_ISDIR(about.st_mode)) {
        folder = getenv("TMPDIR");
        if (!folder || !*folder)
            folder = "/tmp";
    }
    size_t size = strlen(folder) + len + 64;
    char *path = mem_alloc(size);
    snprintf(path, size, "%s/links%d-%ld-%.*s", folder, LAYOUT, (long)geteuid(), (int)len, name);
    return path;
}

static int lock(int fd, int how)
{
    int rc;
    do
        rc = flock(fd, how);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

static int map(region *r)
{
    int flags = MAP_SHARED | (r->keep ? 0 : MAP_NOSYNC);
    char *base = mmap(NULL, r->size, PROT_READ | PROT_WRITE, flags, r->fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    r->base = base;
    return 0;
}

/* Those of this process that do not outlive it. */
static list regions = {&regions, &regions};

static void remove_if_last(region *r)
{
    if (!r->keep && lock(r->fd, LOCK_EX | LOCK_NB) == 0)
        unlink(r->path);
}

/* For os.exit, which does not come back to main and closes nothing. A child that was forked has the
 * same locks as its parent, and must not take them for its own. */
static void at_exit(void)
{
    LIST_EACH (node, &regions) {
        region *r = CONTAINER_OF(node, region, link);
        if (r->opener == getpid())
            remove_if_last(r);
    }
}

static void note(region *r)
{
    static bool noted;
    if (!noted)
        noted = atexit(at_exit) == 0;
    r->opener = getpid();
    list_push_back(&regions, &r->link);
}

static void unmap(region *r)
{
    if (r->base)
        munmap(r->base, r->size);
    r->base = NULL;
}

/* Room that is there now: a folder in memory that is full would be a SIGBUS later. */
int region_reserve(region *r, size_t from, size_t len)
{
    int rc = posix_fallocate(r->fd, (off_t)from, (off_t)len);
    return rc == EINVAL || rc == EOPNOTSUPP ? 0 : -rc;
}

static int make_room(region *r, size_t reserve)
{
    if (ftruncate(r->fd, 0) < 0 || ftruncate(r->fd, (off_t)r->size) < 0)
        return -errno;
    return region_reserve(r, 0, reserve ? reserve : r->size);
}

/* Alone with the file. */
static int begin(region *r, const struct stat *about, const region_ops *ops, void *arg)
{
    bool fresh = !r->keep || about->st_size == 0;
    if (!fresh && about->st_size != (off_t)r->size) {
        r->size = (size_t)about->st_size;
        return LINKS_EXISTS;
    }
    int rc = fresh ? make_room(r, ops->reserve) : 0;
    if (rc == 0)
        rc = map(r);
    if (rc == 0)
        rc = ops->first(r, fresh, arg);
    if (rc < 0 && fresh) {
        /* Not to be taken for a whole one by the next. */
        if (ftruncate(r->fd, 0) < 0 || !r->keep)
            unlink(r->path);
    }
    return rc;
}

/* Waits until whoever makes it is done. LINKS_AGAIN: it is gone, or was left half made. So may be
 * what this process has just made: a lock that changes from one kind to the other is lost for a
 * moment, in which another one can begin anew. */
static int join(region *r, const region_ops *ops, void *arg)
{
    struct stat about;
    int rc = lock(r->fd, LOCK_SH);
    if (rc < 0)
        return rc;
    if (fstat(r->fd, &about) < 0)
        return -errno;
    if (about.st_nlink == 0 || about.st_size == 0)
        return LINKS_AGAIN;
    if (about.st_size != (off_t)r->size) {
        r->size = (size_t)about.st_size;
        return LINKS_EXISTS;
    }
    rc = r->base ? 0 : map(r);
    return rc < 0 ? rc : ops->join(r, arg);
}

static int try_open(region *r, const region_ops *ops, void *arg)
{
    struct stat about;
    r->fd = open(r->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (r->fd < 0)
        return errno == ELOOP || errno == ENXIO ? -EACCES : -errno;
    int rc = fstat(r->fd, &about) < 0 ? -errno : 0;
    if (rc == 0 && (!S_ISREG(about.st_mode) || about.st_uid != geteuid()))
        rc = -EACCES;
    if (rc == 0)
        rc = lock(r->fd, LOCK_EX | LOCK_NB);
    if (rc == 0) {
        /* What it is now that we have it: its last user may have removed it meanwhile. */
        if (fstat(r->fd, &about) < 0)
            rc = -errno;
        else
            rc = about.st_nlink == 0 ? LINKS_AGAIN : begin(r, &about, ops, arg);
    } else if (rc == -EWOULDBLOCK) {
        rc = 0;
    }
    if (rc == 0)
        rc = join(r, ops, arg);
    if (rc < 0) {
        unmap(r);
        close(r->fd);
        r->fd = -1;
    }
    return rc;
}

int region_open(region *r, char *path, size_t size, bool keep, const region_ops *ops, void *arg)
{
    int rc = LINKS_AGAIN;
    for (int tries = 0; rc == LINKS_AGAIN && tries < MAX_TRIES; tries++) {
        *r = (region){.path = path, .size = size, .keep = keep, .fd = -1};
        rc = try_open(r, ops, arg);
    }
    if (rc < 0) {
        mem_free(r->path);
        r->path = NULL;
        return rc == LINKS_AGAIN ? -EBUSY : rc;
    }
    note(r);
    return 0;
}

void region_close(region *r)
{
    if (r->fd < 0)
        return;
    list_remove(&r->link);
    unmap(r);
    remove_if_last(r);
    close(r->fd);
    r->fd = -1;
    mem_free(r->path);
    r->path = NULL;
}
