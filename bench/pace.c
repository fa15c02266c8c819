/*
 * The client of latency.sh: requests at a steady rate, whatever the server does.
 *
 *     pace PORT COUNT RATE MS    RATE requests a second for MS over COUNT keep-alive connections; prints
 *                                "p50 p99 max" of the latency in us, and the share of a CPU that this
 *                                program used
 *
 * What is due within 200 us is sent together, for a wake-up costs this program more than a request.
 * A request has its time, and its latency counts from there: where all connections wait for replies, it
 * waits too, and that is in its latency. So a server that stops for a while pays for all who came
 * meanwhile, as with users it would. A reply is known by its length, which is that of the first one.
 */
#define _GNU_SOURCE
#define PROGRAM "pace"
#include "load.h"

#include <sys/epoll.h>
#include <sys/prctl.h>

enum {
    MAX_COUNT = 1024,
    MAX_RATE = 10000000,
    MAX_MS = 600000,
    MAX_EVENTS = 256,
    WARM_MS = 500,
    TICK_NS = 200000
};

static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

typedef struct connection {
    int fd;
    int64_t due; /* when the request that is under way had its time */
    size_t have; /* bytes of its reply */
} connection;

static connection conns[MAX_COUNT];
static int idle[MAX_COUNT], nidle;
static size_t reply_len;
static uint32_t *took_us;
static long ntook;

static void ask(connection *c, int64_t due)
{
    c->due = due;
    c->have = 0;
    if (send(c->fd, request, sizeof request - 1, MSG_NOSIGNAL) != sizeof request - 1)
        die("send: %s", strerror(errno));
}

static void take(int i, int64_t now, int64_t since)
{
    static char input[65536];
    connection *c = &conns[i];
    ssize_t n = recv(c->fd, input, sizeof input, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        die("read: %s", n == 0 ? "the server closed the connection" : strerror(errno));
    if (c->have == 0 && (n < 12 || memcmp(input, "HTTP/1.1 200", 12) != 0))
        die("a reply that is not 200");
    c->have += (size_t)n;
    if (c->have < reply_len)
        return;
    if (c->have > reply_len)
        die("a reply is longer than the first");
    idle[nidle++] = i;
    if (c->due >= since)
        took_us[ntook++] = (uint32_t)((now - c->due) / 1000);
}

static void open_all(int ep, int port, int count)
{
    char reply[4096];
    for (int i = 0; i < count; i++) {
        connection *c = &conns[i];
        c->fd = connect_to(port, i);
        ask(c, 0);
        ssize_t n = recv(c->fd, reply, sizeof reply, 0);
        if (n <= 0)
            die("the first reply: %s", n == 0 ? "the end" : strerror(errno));
        reply_len = (size_t)n;
        idle[nidle++] = i;
        struct epoll_event ev = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev) < 0)
            die("epoll_ctl: %s", strerror(errno));
    }
}

/* Waits for replies until `due` at the latest. */
static void await(int ep, int64_t due, int64_t since)
{
    struct epoll_event events[MAX_EVENTS];
    int64_t left = due - now_ns();
    struct timespec timeout = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
    if (left < 0)
        timeout = (struct timespec){0};
    int n = epoll_pwait2(ep, events, MAX_EVENTS, &timeout, NULL);
    if (n < 0 && errno != EINTR)
        die("epoll_pwait2: %s", strerror(errno));
    int64_t now = now_ns();
    for (int i = 0; i < n; i++)
        take((int)events[i].data.u32, now, since);
}

static double cpu_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        die("usage: pace PORT COUNT RATE MS");
    int port = (int)number(argv[1], 65535), count = (int)number(argv[2], MAX_COUNT);
    long rate = number(argv[3], MAX_RATE);
    int64_t length = (int64_t)number(argv[4], MAX_MS) * 1000000;
    int ep = epoll_create1(EPOLL_CLOEXEC);
    double per_tick = (double)rate * TICK_NS / 1e9, owed = 0;

    prctl(PR_SET_TIMERSLACK, 1UL); /* or it would sleep 50 us longer than it asks to */
    took_us = calloc((size_t)(per_tick * (double)length / TICK_NS) + MAX_COUNT, sizeof *took_us);
    if (ep < 0 || took_us == NULL)
        die("no memory");
    open_all(ep, port, count);
    int64_t due = now_ns(), since = due + WARM_MS * 1000000LL, end = since + length;
    double cpu = 0;
    while (due < end) {
        if (cpu == 0 && due >= since)
            cpu = cpu_s();
        for (owed += per_tick; owed >= 1; owed--) {
            while (!nidle)
                await(ep, INT64_MAX, since);
            ask(&conns[idle[--nidle]], due);
        }
        for (due += TICK_NS; now_ns() < due;)
            await(ep, due, since);
    }
    double used = cpu_s() - cpu;
    while (nidle < count)
        await(ep, INT64_MAX, since);
    if (ntook == 0)
        die("no reply came");
    qsort(took_us, (size_t)ntook, sizeof *took_us, ascending);
    printf("%u %u %u %.3f\n", took_us[ntook / 2], took_us[ntook * 99 / 100], took_us[ntook - 1],
           used * 1e9 / (double)length);
    return 0;
}
