/*
 * The client of idle.sh and syscalls.sh: a known number of requests on a known number of connections.
 *
 *     client send PORT BATCHES DEPTH    one keep-alive connection; BATCHES times DEPTH pipelined requests
 *     client hold PORT COUNT PID        COUNT keep-alive connections, each answered once and then idle;
 *                                       prints by how many bytes per connection PID's private memory grew
 *
 * Everything blocks and happens in order: each reply is read whole before the next request is sent. A
 * reply needs a Content-Length and a status of 200; anything else ends the program with an error.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

enum {
    REQUEST_LEN = sizeof request - 1,
    MAX_DEPTH = 256,
    MAX_COUNT = 1000000,
    SOURCES = 16, /* connections come from 127.0.0.1 to 127.0.0.16, or ports would run out */
    TIMEOUT_S = 10,
};

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("client: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    exit(1);
}

static long number(const char *text, long max)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (end == text || *end != '\0' || value < 1 || value > max)
        die("%s: expected a number from 1 to %ld", text, max);
    return value;
}

static int connect_to(in_port_t port, int i)
{
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr =
                                   htonl(INADDR_LOOPBACK + (in_addr_t)(i % SOURCES))};
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket %d: %s", i, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connection %d: %s", i, strerror(errno));
    return fd;
}

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

/* What only this process has in memory. The kernel's socket buffers are not in it. */
static long private_bytes(long pid)
{
    char path[64], line[256];
    long sum = 0, kib;
    snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        die("%s: %s", path, strerror(errno));
    while (fgets(line, sizeof line, f) != NULL) {
        if (sscanf(line, "Private_Clean: %ld", &kib) == 1 ||
            sscanf(line, "Private_Dirty: %ld", &kib) == 1)
            sum += kib * 1024;
    }
    fclose(f);
    return sum;
}

static void hold(in_port_t port, int count, long pid)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_max != RLIM_INFINITY && files.rlim_max < (rlim_t)count + 64)
        die("%d connections need `ulimit -Hn` of %d or more; here it is %ld", count, count + 64,
            (long)files.rlim_max);

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

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "send") == 0) {
        int fd = connect_to((in_port_t)number(argv[2], 65535), 0);
        long batches = number(argv[3], MAX_COUNT), depth = number(argv[4], MAX_DEPTH);
        while (batches-- > 0)
            exchange(fd, depth);
    } else if (argc == 5 && strcmp(argv[1], "hold") == 0) {
        hold((in_port_t)number(argv[2], 65535), (int)number(argv[3], MAX_COUNT),
             number(argv[4], 1L << 22));
    } else {
        die("usage: client send PORT BATCHES DEPTH | client hold PORT COUNT PID");
    }
    return 0;
}
