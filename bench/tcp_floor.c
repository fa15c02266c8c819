/*
 * The floor of tcp.sh: what a message costs when it is only sent back.
 *
 *     tcp_floor [PORT]    127.0.0.1, 0 or nothing: any free port; prints the port, ends on SIGTERM
 *
 * One edge-triggered epoll loop, one read and one write per message.
 */
#define _GNU_SOURCE
#include "floor.h"

#include <errno.h>

static char input[65536];

/* False when the connection is over. */
static bool serve(int fd)
{
    for (;;) {
        ssize_t n = read(fd, input, sizeof input);
        if (n < 0)
            return errno == EAGAIN;
        if (n == 0 || write(fd, input, (size_t)n) != n)
            return false;
        if ((size_t)n < sizeof input)
            return true; /* drained: what comes later is an edge of its own */
    }
}

int main(int argc, char **argv) { floor_run(argc > 1 ? argv[1] : NULL, serve); }
