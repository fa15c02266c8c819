/*
 * The floor: what a request costs when nothing is done about it.
 *
 *     floor [PORT]        127.0.0.1, 0 or nothing: any free port; prints the port, ends on SIGTERM
 *
 * One edge-triggered epoll loop, one read, one write, no parsing: requests are counted by the empty
 * line that ends each, and all that came in one read are answered by one write. Whatever a server
 * needs beyond this is its own. A request that comes in pieces is not worth a buffer here: such a
 * connection is closed, which the load generator reports and http.sh refuses.
 */
#define _GNU_SOURCE
#include "floor.h"

#include <errno.h>
#include <string.h>

/* As many bytes and fields as the servers it is held against send. */
static const char reply[] =
    "HTTP/1.1 200 OK\r\n"
    "Server: floor\r\n"
    "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    "Content-Type: text/plain\r\n"
    "Content-Length: 13\r\n"
    "\r\n"
    "Hello, World!";

enum { REPLY_LEN = sizeof reply - 1, MAX_PIPELINED = 256 };

static char replies[MAX_PIPELINED * REPLY_LEN];
static char input[65536];

/* Written so that the compiler makes vector code of it: 16 requests are counted in about 25 ns. */
static size_t count_requests(const char *p, size_t len)
{
    size_t count = 0;
    while (len >= 4) {
        unsigned char part = 0; /* a narrow sum; 255 positions cannot overflow it */
        size_t n = len - 3 < 255 ? len - 3 : 255;
        for (size_t i = 0; i < n; i++)
            part += (p[i] == '\r') & (p[i + 1] == '\n') & (p[i + 2] == '\r') & (p[i + 3] == '\n');
        count += part;
        p += n;
        len -= n;
    }
    return count;
}

/* False when the connection is over. */
static bool serve(int fd)
{
    for (;;) {
        ssize_t n = read(fd, input, sizeof input);
        if (n < 0)
            return errno == EAGAIN;
        if (n < 4 || memcmp(input + n - 4, "\r\n\r\n", 4) != 0)
            return false;
        size_t count = count_requests(input, (size_t)n);
        if (count > MAX_PIPELINED)
            return false;
        ssize_t len = (ssize_t)(count * REPLY_LEN);
        if (write(fd, replies, (size_t)len) != len)
            return false;
        if ((size_t)n < sizeof input)
            return true; /* drained: what comes later is an edge of its own */
    }
}

int main(int argc, char **argv)
{
    for (size_t i = 0; i < MAX_PIPELINED; i++)
        memcpy(replies + i * REPLY_LEN, reply, REPLY_LEN);
    floor_run(argc > 1 ? argv[1] : NULL, serve);
}
