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
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* As many bytes and fields as the servers it is held against send. */
static const char reply[] =
    "HTTP/1.1 200 OK\r\n"
    "Server: floor\r\n"
    "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    "Content-Type: text/plain\r\n"
    "Content-Length: 13\r\n"
    "\r\n"
    "Hello, World!";

enum { REPLY_LEN = sizeof reply - 1, MAX_PIPELINED = 256, MAX_EVENTS = 256 };

static char replies[MAX_PIPELINED * REPLY_LEN];
static char input[65536];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

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

static void accept_all(int ep, int listener)
{
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
        if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0)
            die("epoll_ctl");
    }
}

static int listen_on(struct sockaddr_in *addr)
{
    int one = 1;
    socklen_t len = sizeof *addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        bind(fd, (struct sockaddr *)addr, len) < 0 || listen(fd, 511) < 0 ||
        getsockname(fd, (struct sockaddr *)addr, &len) < 0)
        die("listen");
    return fd;
}

int main(int argc, char **argv)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((in_port_t)(argc > 1 ? atoi(argv[1]) : 0)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (size_t i = 0; i < MAX_PIPELINED; i++)
        memcpy(replies + i * REPLY_LEN, reply, REPLY_LEN);

    int listener = listen_on(&addr);
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.fd = listener};
    if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev) < 0)
        die("epoll");
    printf("%d\n", ntohs(addr.sin_port));
    fflush(stdout);

    for (;;) {
        struct epoll_event events[MAX_EVENTS];
        int n = epoll_wait(ep, events, MAX_EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(ep, listener);
            else if (!serve(fd))
                close(fd);
        }
    }
}
