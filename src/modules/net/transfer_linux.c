#define _GNU_SOURCE /* splice, pipe2, F_SETPIPE_SZ */
#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <unistd.h>

enum { PIPE_SIZE = 1048576 }; /* what everybody may have by default (pipe-max-size) */

volatile sig_atomic_t transfer_under_way;

ssize_t transfer_file(int sock, int fd, int64_t offset, size_t len)
{
    off_t at = (off_t)offset;
    ssize_t n;
    transfer_under_way = 1;
    do
        n = sendfile(sock, fd, &at, len);
    while (n < 0 && errno == EINTR);
    transfer_under_way = 0;
    return n < 0 ? -errno : n;
}

int transfer_pipe_open(int ends[2])
{
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0)
        return -errno;
    /* Where this is refused, it is a smaller one. */
    (void)fcntl(ends[1], F_SETPIPE_SZ, PIPE_SIZE);
    return 0;
}

static ssize_t move(int from, int to, size_t len)
{
    ssize_t n;
    transfer_under_way = 1;
    do
        n = splice(from, NULL, to, NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (n < 0 && errno == EINTR);
    transfer_under_way = 0;
    return n < 0 ? -errno : n;
}

ssize_t transfer_in(int sock, int pipe) { return move(sock, pipe, PIPE_SIZE); }

ssize_t transfer_out(int pipe, int sock, size_t len) { return move(pipe, sock, len); }
