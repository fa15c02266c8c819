#define _GNU_SOURCE /* O_PATH, syscall */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "filecache.h"

enum { FLAGS = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC };

int beneath_root(const char *folder)
{
    int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int beneath_open(int root, const char *path, int links)
{
    struct open_how how = {
        .flags = FLAGS,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS |
                   (links == LINKS_FILES_NO_LINKS ? RESOLVE_NO_SYMLINKS : 0),
    };
    long fd;
    if (links == LINKS_FILES_LINKS_ALL)
        fd = openat(root, path, FLAGS);
    else
        fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
    if (fd >= 0)
        return (int)fd;
    /* Before Linux 5.6, and where a filter of system calls does not know it. */
    if (errno == ENOSYS || (errno == EPERM && links != LINKS_FILES_LINKS_ALL))
        return beneath_walk(root, path);
    return -errno;
}
