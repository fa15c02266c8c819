/*
 * Pid files: locked for as long as the process lives, and removed at its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "process.h"
#include "unit.h"

#define ASIDE ".old"

typedef struct pid_file {
    struct pid_file *next;
    int fd; /* holds the lock */
    char *name;
    char *path; /* where it is: `name`, or aside */
} pid_file;

static pid_file *pid_files;

static int read_owner(int fd)
{
    char text[16] = "";
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    return n > 0 ? atoi(text) : 0;
}

/* Whether the path still names the file that is open: its former owner may have removed it between
 * our open and our lock. */
static bool is_current(int fd, const char *path)
{
    struct stat open_one, named;
    return fstat(fd, &open_one) == 0 && stat(path, &named) == 0 &&
           open_one.st_dev == named.st_dev && open_one.st_ino == named.st_ino;
}

/* Returns a descriptor that holds the lock, LINKS_LOCKED or -errno. */
static int open_locked(const char *path, int *owner)
{
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
        if (fd < 0)
            return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            int rc = errno == EWOULDBLOCK ? LINKS_LOCKED : -errno;
            *owner = read_owner(fd);
            close(fd);
            return rc;
        }
        if (is_current(fd, path))
            return fd;
        close(fd);
    }
}

static int write_pid(int fd)
{
    char text[16];
    int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0)
        return -errno;
    ssize_t n = pwrite(fd, text, (size_t)len, 0);
    if (n < 0)
        return -errno;
    return n == len ? 0 : -ENOSPC;
}

/* Removed before it is unlocked: who comes next makes a new one. */
void pid_files_close(void)
{
    while (pid_files) {
        pid_file *file = pid_files;
        pid_files = file->next;
        if (is_current(file->fd, file->path))
            unlink(file->path);
        close(file->fd);
        mem_free(file->path);
        mem_free(file->name);
        mem_free(file);
    }
}

int links_process_pid_file(const char *path, int *owner)
{
    *owner = 0;
    int fd = open_locked(path, owner);
    if (fd < 0)
        return fd;
    int rc = write_pid(fd);
    if (rc < 0) {
        unlink(path);
        close(fd);
        return rc;
    }
    pid_file *file = mem_new(pid_file);
    file->fd = fd;
    file->name = mem_strdup(path);
    file->path = mem_strdup(path);
    file->next = pid_files;
    static bool at_exit; /* for os.exit, which does not come back to main */
    if (!at_exit)
        at_exit = atexit(pid_files_close) == 0;
    pid_files = file;
    return 0;
}

static int move(pid_file *file, const char *to)
{
    if (!is_current(file->fd, file->path))
        return 0; /* somebody has removed it, and it is not ours to make another */
    if (rename(file->path, to) < 0)
        return -errno;
    mem_free(file->path);
    file->path = mem_strdup(to);
    return 0;
}

int links_process_pid_files_aside(int aside)
{
    for (pid_file *file = pid_files; file; file = file->next) {
        size_t size = strlen(file->name) + sizeof(ASIDE);
        char *other = mem_alloc(size);
        snprintf(other, size, "%s" ASIDE, file->name);
        int rc = move(file, aside ? other : file->name);
        mem_free(other);
        if (rc < 0)
            return rc;
    }
    return 0;
}
