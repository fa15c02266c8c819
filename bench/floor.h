/*
 * What the two floors, floor.c and tcp_floor.c, share: one edge-triggered epoll loop that accepts and
 * calls `serve` for a connection that has something to read.
 */
#ifndef LINKS_BENCH_FLOOR_H
#define LINKS_BENCH_FLOOR_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FLOOR_EVENTS = 256 };

static void floor_die(const char *what)
{
    perror(what);
    exit(1);
}

static void floor_accept(int ep, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
        if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0)
            floor_die("epoll_ctl");
    }
}

/* What is accepted inherits TCP_NODELAY. */
static int floor_listen(struct sockaddr_in *addr)
{
    int one = 1;
    socklen_t len = sizeof *addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
        bind(fd, (struct sockaddr *)addr, len) < 0 || listen(fd, 511) < 0 ||
        getsockname(fd, (struct sockaddr *)addr, &len) < 0)
        floor_die("listen");
    return fd;
}

/* Listens on `port` of 127.0.0.1 (NULL or "0": any free one), prints it, and serves until SIGTERM.
 * `serve` answers false when the connection is over. */
__attribute__((noreturn)) static void floor_run(const char *port, bool (*serve)(int fd))
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((in_port_t)(port ? atoi(port) : 0)),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = floor_listen(&addr);
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.fd = listener};
    if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev) < 0)
        floor_die("epoll");
    printf("%d\n", ntohs(addr.sin_port));
    fflush(stdout);

    for (;;) {
        struct epoll_event events[FLOOR_EVENTS];
        int n = epoll_wait(ep, events, FLOOR_EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                floor_accept(ep, listener);
            else if (!serve(fd))
                close(fd);
        }
    }
}

#endif
