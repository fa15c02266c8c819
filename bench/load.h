/*
 * What the programs that load a server share: connections to a port of this machine, time, and how
 * much memory a process has. Each of them defines PROGRAM, its name for error messages, first.
 */
#ifndef LINKS_BENCH_LOAD_H
#define LINKS_BENCH_LOAD_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum {
    SOURCES = 16,        /* connections come from 127.0.0.1 to 127.0.0.16, or ports would run out */
    LOAD_TIMEOUT_S = 30, /* for a blocking read or write */
};

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs(PROGRAM ": ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    exit(1);
}

/* The number that `text` is, from 1 to `max`. */
__attribute__((unused)) static long number(const char *text, long max)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (end == text || *end != '\0' || value < 1 || value > max)
        die("%s: expected a number from 1 to %ld", text, max);
    return value;
}

__attribute__((unused)) static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* The `i`th connection to `port`; it blocks. */
static int connect_to(int port, int i)
{
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr =
                                   htonl(INADDR_LOOPBACK + (in_addr_t)(i % SOURCES))};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((in_port_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval timeout = {.tv_sec = LOAD_TIMEOUT_S};
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

/* As many descriptors as this process may have, which must be enough for `count` connections. */
__attribute__((unused)) static void allow_connections(int count)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        die("getrlimit: %s", strerror(errno));
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_max != RLIM_INFINITY && files.rlim_max < (rlim_t)count + 64)
        die("%d connections need `ulimit -Hn` of %d or more; here it is %ld", count, count + 64,
            (long)files.rlim_max);
}

/* What this process has written to memory. The kernel's socket buffers are not in it, nor are clean
 * pages of its file, which count as private or not by who else runs that. */
__attribute__((unused)) static long private_bytes(long pid)
{
    char path[64], line[256];
    long kib = 0;
    snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        die("%s: %s", path, strerror(errno));
    while (fgets(line, sizeof line, f) != NULL && sscanf(line, "Private_Dirty: %ld", &kib) != 1)
        ;
    fclose(f);
    return kib * 1024;
}

#endif
