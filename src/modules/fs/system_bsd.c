#include "op.h"

ssize_t fs_copy_some(int from, int to, char *buffer)
{
    ssize_t n = fs_read_all(from, buffer, FS_COPY_SIZE);
    if (n <= 0)
        return n;
    int rc = fs_write_all(to, buffer, (size_t)n);
    return rc < 0 ? rc : n;
}
