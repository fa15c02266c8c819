#define _GNU_SOURCE /* copy_file_range */
#include <errno.h>
#include <unistd.h>

#include "op.h"

/* The kernel copies, and some file systems only share the blocks. What it does not copy this way
 * (between file systems of two kinds, from /proc) goes through the buffer. */
ssize_t fs_copy_some(int from, int to, char *buffer)
{
    ssize_t n;
    do
        n = copy_file_range(from, NULL, to, NULL, FS_COPY_SIZE, 0);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        return n;
    /* 0 is the end, or a file of /proc that says it has no size. */
    n = fs_read_all(from, buffer, FS_COPY_SIZE);
    if (n <= 0)
        return n;
    int rc = fs_write_all(to, buffer, (size_t)n);
    return rc < 0 ? rc : n;
}
