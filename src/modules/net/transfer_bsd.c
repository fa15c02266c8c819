#include "transfer.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

volatile sig_atomic_t transfer_under_way;

/* Each BSD has a sendfile of its own, or none. A copy through the cache is right everywhere. */
ssize_t transfer_file(int sock, int fd, int64_t offset, size_t len)
{
    char data[65536];
    ssize_t have, n;
    do
        have = pread(fd, data, len < sizeof(data) ? len : sizeof(data), (off_t)offset);
    while (have < 0 && errno == EINTR);
    if (have <= 0)
        return have < 0 ? -errno : 0;
    do
        n = send(sock, data, (size_t)have, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

int transfer_pipe_open(int ends[2])
{
    (void)ends;
    return -ENOSYS;
}

ssize_t transfer_in(int sock, int pipe)
{
    (void)sock;
    (void)pipe;
    return -ENOSYS;
}

ssize_t transfer_out(int pipe, int sock, size_t len)
{
    (void)pipe;
    (void)sock;
    (void)len;
    return -ENOSYS;
}
