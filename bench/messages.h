/*
 * Messages of 64 bytes on many connections, for programs that define open_one(port, i), a connection
 * that is ready; send_message(fd); and take_reply(fd), which ends the program where it is another.
 */
#ifndef LINKS_BENCH_MESSAGES_H
#define LINKS_BENCH_MESSAGES_H

#include <stdbool.h>
#include <sys/epoll.h>

#include "load.h"

enum { MESSAGE = 64, MAX_COUNT = 100000, MAX_EVENTS = 256 };

static int fds[MAX_COUNT];

static int open_one(int port, int i);
static void send_message(int fd);
static void take_reply(int fd);

static void watch(int ep, int i)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
    if (epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &ev) < 0)
        die("epoll_ctl: %s", strerror(errno));
}

/* Each connection has a message under way for `ms`; with `churn` it is another one each time. */
static void load(int port, int count, int64_t ms, bool churn)
{
    int ep = epoll_create1(EPOLL_CLOEXEC);
    long done = 0;
    for (int i = 0; i < count; i++) {
        fds[i] = open_one(port, i);
        watch(ep, i);
    }
    int64_t begin = now_ns(), end = begin + ms * 1000000, now = begin;
    for (int i = 0; i < count; i++)
        send_message(fds[i]);
    while (now < end) {
        struct epoll_event events[MAX_EVENTS];
        int n = epoll_wait(ep, events, MAX_EVENTS, 10000);
        if (n <= 0)
            die("epoll_wait: %s", strerror(errno));
        for (int k = 0; k < n; k++) {
            int i = (int)events[k].data.u32;
            take_reply(fds[i]);
            if (churn) {
                close(fds[i]);
                fds[i] = open_one(port, i);
                watch(ep, i);
            }
            send_message(fds[i]);
            done++;
        }
        now = now_ns();
    }
    printf("%ld %lld\n", done, (long long)(now - begin) / 1000);
}

/* The last connection is answered once, so that the others have been accepted by then. */
static void hold(int port, int count, long pid)
{
    allow_connections(count);
    int warm = open_one(port, 0);
    send_message(warm);
    take_reply(warm);
    long before = private_bytes(pid);
    for (int i = 0; i < count; i++)
        fds[i] = open_one(port, i);
    int last = open_one(port, 0);
    send_message(last);
    take_reply(last);
    printf("%ld\n", (private_bytes(pid) - before) / count);
}

#endif
