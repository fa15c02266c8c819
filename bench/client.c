/*
 * The client of idle.sh, memory.sh and syscalls.sh: a known number of requests on a known number of connections.
 *
 *     client send PORT BATCHES DEPTH    one keep-alive connection; BATCHES times DEPTH pipelined requests
 *     client hold PORT COUNT PID        COUNT keep-alive connections, each answered once and then idle;
 *                                       prints by how many bytes per connection PID's private memory grew
 *     client slow PORT MIB PID          reads MIB MiB from /MIB, a MiB every 4 ms; prints by how many bytes
 *                                       PID's private memory was larger at most
 *
 * Everything blocks and happens in order: each reply is read whole before the next request is sent. A
 * reply needs a Content-Length and a status of 200; anything else ends the program with an error.
 */
#define _GNU_SOURCE
#define PROGRAM "client"
#include "load.h"

static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

enum {
    REQUEST_LEN = sizeof request - 1,
    MAX_DEPTH = 256,
    MAX_COUNT = 1000000,
    BURST = 1048576,    /* bytes that the slow reader takes at a time */
    PAUSE_NS = 4000000, /* that it waits in between */
};

/* The length of the reply at `p`, or 0 while its head is not complete; `p` ends with a NUL. */
static size_t reply_len(const char *p)
{
    const char *end = strstr(p, "\r\n\r\n");
    if (end == NULL)
        return 0;
    if (strncmp(p, "HTTP/1.1 200", 12) != 0)
        die("not a 200: %.*s", (int)strcspn(p, "\r"), p);
    const char *field = strcasestr(p, "\r\ncontent-length:");
    if (field == NULL || field > end)
        die("a reply without Content-Length");
    return (size_t)(end + 4 - p) + strtoul(field + 17, NULL, 10);
}

static void exchange(int fd, long depth)
{
    static char output[MAX_DEPTH * REQUEST_LEN];
    static char input[65536];
    size_t have = 0;

    for (long i = 0; i < depth; i++)
        memcpy(output + i * REQUEST_LEN, request, REQUEST_LEN);
    if (write(fd, output, (size_t)depth * REQUEST_LEN) != depth * REQUEST_LEN)
        die("write: %s", strerror(errno));
    while (depth > 0) {
        ssize_t n = read(fd, input + have, sizeof input - 1 - have);
        if (n <= 0)
            die("read: %s", n == 0 ? "the server closed the connection" : strerror(errno));
        have += (size_t)n;
        input[have] = '\0';

        char *p = input;
        size_t len;
        while (depth > 0 && (len = reply_len(p)) > 0 && len <= (size_t)(input + have - p)) {
            p += len;
            depth--;
        }
        have -= (size_t)(p - input);
        memmove(input, p, have + 1);
    }
    if (have > 0)
        die("more came than was asked for");
}

static void hold(int port, int count, long pid)
{
    allow_connections(count);
    /* One connection more, first and last: the server has then done all that a first request
     * makes it do, and has finished the turn of the last connection that is counted. */
    int other = connect_to(port, 0);
    for (int i = 0; i < 1000; i++)
        exchange(other, 1);
    long before = private_bytes(pid);
    for (int i = 0; i < count; i++)
        exchange(connect_to(port, i), 1);
    exchange(other, 1);
    printf("%.0f\n", (double)(private_bytes(pid) - before) / count);
}

/* Reads a body of `mib` MiB more slowly than it could come; returns by how much the private memory
 * of `pid` was larger at most. */
static long read_slowly(int port, long mib, long pid)
{
    static char burst[BURST];
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    char ask[128];
    int64_t total = 0;
    long before = private_bytes(pid), most = before;
    int fd = connect_to(port, 0);
    int len = snprintf(ask, sizeof ask,
                       "GET /%ld HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", mib);
    if (write(fd, ask, (size_t)len) != len)
        die("write: %s", strerror(errno));
    for (;;) {
        ssize_t n = recv(fd, burst, sizeof burst, MSG_WAITALL);
        if (n < 0)
            die("read: %s", strerror(errno));
        if (n == 0)
            break;
        total += n;
        nanosleep(&pause, NULL);
        long now = private_bytes(pid);
        most = now > most ? now : most;
    }
    close(fd);
    if (total < mib * 1048576)
        die("%lld bytes came, not %ld MiB", (long long)total, mib);
    return most - before;
}

/* Once before it counts: the server has then all that it needs for one such reader. */
static void slow(int port, long mib, long pid)
{
    read_slowly(port, mib < 64 ? mib : 64, pid);
    printf("%ld\n", read_slowly(port, mib, pid));
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "send") == 0) {
        int fd = connect_to((int)number(argv[2], 65535), 0);
        long batches = number(argv[3], MAX_COUNT), depth = number(argv[4], MAX_DEPTH);
        while (batches-- > 0)
            exchange(fd, depth);
    } else if (argc == 5 && strcmp(argv[1], "hold") == 0) {
        hold((int)number(argv[2], 65535), (int)number(argv[3], MAX_COUNT),
             number(argv[4], 1L << 22));
    } else if (argc == 5 && strcmp(argv[1], "slow") == 0) {
        slow((int)number(argv[2], 65535), number(argv[3], MAX_COUNT), number(argv[4], 1L << 22));
    } else {
        die("usage: client send PORT BATCHES DEPTH | client hold PORT COUNT PID | "
            "client slow PORT MIB PID");
    }
    return 0;
}
