#define _GNU_SOURCE
#include "modules/metrics/memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

int memory_open(size_t size)
{
    int fd = memfd_create("links-metrics", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)size) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}
