#define _GNU_SOURCE /* preadv2 */
#include <sys/uio.h>

#include "sendfile.h"

/* How far apart to look: the system reads ahead in pieces of this size. */
enum { PROBE_STEP = 131072 };

static int is_cached(int fd, int64_t offset)
{
    char byte;
    struct iovec iov = {&byte, 1};
    return preadv2(fd, &iov, 1, (off_t)offset, RWF_NOWAIT) >= 0;
}

int sendfile_is_cached(int fd, int64_t offset, size_t len)
{
    for (size_t at = 0; at < len; at += PROBE_STEP)
        if (!is_cached(fd, offset + (int64_t)at))
            return 0;
    return is_cached(fd, offset + (int64_t)len - 1);
}
