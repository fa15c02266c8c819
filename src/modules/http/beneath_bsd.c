#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "filecache.h"

enum { FLAGS = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC };

int beneath_root(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int beneath_open(int root, const char *path, int links)
{
    int fd;
    if (links == LINKS_FILES_LINKS_ALL) {
        fd = openat(root, path, FLAGS);
        return fd < 0 ? -errno : fd;
    }
#ifdef O_RESOLVE_BENEATH
    if (links == LINKS_FILES_LINKS_INSIDE) {
        fd = openat(root, path, FLAGS | O_RESOLVE_BENEATH);
        return fd < 0 ? -errno : fd;
    }
#endif
    return beneath_walk(root, path);
}
