#include "sendfile.h"

/* There is no cheap way to tell: a thread reads first. */
int sendfile_is_cached(int fd, int64_t offset, size_t len)
{
    (void)fd;
    (void)offset;
    (void)len;
    return 0;
}
