/*
 * The floor of tcp.sh: what a message costs when it is only sent back.
 *
 *     tcp_floor [PORT]    127.0.0.1, 0 or nothing: any free port; prints the port, ends on SIGTERM
 *
 * One edge-triggered epoll loop, one read and one write per message.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_EVENTS = 256 };

static char input[65536];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

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
