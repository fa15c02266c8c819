/*
 * The client of websocket.sh and cluster.sh.
 *
 *     ws_client echo PORT COUNT MS       COUNT connections, each with a binary message of 64 bytes under
 *                                        way, for MS; prints "messages microseconds"
 *     ws_client publish PORT COUNT PID...  COUNT subscribers; 50 times one message of 64 bytes to all of
 *                                        them; prints the servers' CPU time for one in ns: all of it
 *                                        (the median), and what they spent outside of the kernel
 *     ws_client hold PORT COUNT PID      COUNT connections that send nothing; prints by how many bytes
 *                                        per connection PID's private memory grew
 *
 * A reply that is not what was sent ends the program with an error.
 */
#define _GNU_SOURCE
#define PROGRAM "ws_client"
#include "messages.h"

enum { HEAD = 2, MASK = 4, ROUNDS = 50 };

static unsigned char frame[HEAD + MASK + MESSAGE]; /* as it is sent: masked */
static unsigned char reply[HEAD + MESSAGE];        /* as it comes back */

static void make_frames(void)
{
    static const unsigned char mask[MASK] = {0x5a, 0x11, 0xc3, 0x7e};
    frame[0] = reply[0] = 0x82;
    frame[1] = 0x80 | MESSAGE;
    reply[1] = MESSAGE;
    memcpy(frame + HEAD, mask, MASK);
    for (int i = 0; i < MESSAGE; i++) {
        reply[HEAD + i] = (unsigned char)i;
        frame[HEAD + MASK + i] = (unsigned char)i ^ mask[i % MASK];
    }
}

/* A connection that has shaken hands. */
static int open_one(int port, int i)
{
    static const char request[] =
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    char answer[1024];
    size_t len = 0;
    int fd = connect_to(port, i);
    if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) != sizeof request - 1)
        die("send: %s", strerror(errno));
    while (len < 4 || memcmp(answer + len - 4, "\r\n\r\n", 4) != 0) {
        ssize_t n = len < sizeof answer ? recv(fd, answer + len, sizeof answer - len, 0) : 0;
        if (n <= 0)
            die("no answer to the handshake");
        len += (size_t)n;
    }
    if (memcmp(answer, "HTTP/1.1 101 ", 13) != 0)
        die("the answer is %.20s", answer);
    return fd;
}

static void send_message(int fd)
{
    if (send(fd, frame, sizeof frame, MSG_NOSIGNAL) != sizeof frame)
        die("send: %s", strerror(errno));
}

static void take_reply(int fd)
{
    unsigned char got[sizeof reply];
    if (recv(fd, got, sizeof got, MSG_WAITALL) != sizeof got || memcmp(got, reply, sizeof got) != 0)
        die("reply: %s", strerror(errno));
}

/* The CPU time of a process of one thread. */
static long cpu_ns(long pid)
{
    char path[64];
    long ns = 0;
    snprintf(path, sizeof path, "/proc/%ld/schedstat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL || fscanf(f, "%ld", &ns) != 1)
        die("%s: %s", path, strerror(errno));
    fclose(f);
    return ns;
}

/* What of its CPU time was outside of the kernel, as the kernel's clock ticks tell it. */
static long user_ns(long pid)
{
    char path[64];
    long ticks = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "r");
    if (f == NULL ||
        fscanf(f, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld", &ticks) != 1)
        die("%s: %s", path, strerror(errno));
    fclose(f);
    return ticks * (1000000000 / sysconf(_SC_CLK_TCK));
}

static int by_size(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return x < y ? -1 : x > y;
}

static long sum_of(long (*ns)(long pid), char **pids)
{
    long sum = 0;
    for (; *pids; pids++)
        sum += ns(number(*pids, 1L << 22));
    return sum;
}

static void publish(int port, int count, char **pids)
{
    long took[ROUNDS];
    allow_connections(count);
    for (int i = 0; i < count; i++)
        fds[i] = open_one(port, i);
    long user = sum_of(user_ns, pids);
    for (int round = 0; round < ROUNDS; round++) {
        long before = sum_of(cpu_ns, pids);
        send_message(fds[0]);
        for (int i = 0; i < count; i++)
            take_reply(fds[i]);
        took[round] = sum_of(cpu_ns, pids) - before;
    }
    user = (sum_of(user_ns, pids) - user) / ROUNDS;
    qsort(took, ROUNDS, sizeof took[0], by_size);
    printf("%ld %ld\n", took[ROUNDS / 2], user);
}

int main(int argc, char **argv)
{
    int count = argc >= 5 ? atoi(argv[3]) : 0;
    if (count < 1 || count > MAX_COUNT) {
        fprintf(stderr, "usage: ws_client echo|publish|hold PORT COUNT MS|PID...\n");
        return 2;
    }
    make_frames();
    if (strcmp(argv[1], "hold") == 0)
        hold(atoi(argv[2]), count, number(argv[4], 1L << 22));
    else if (strcmp(argv[1], "publish") == 0)
        publish(atoi(argv[2]), count, argv + 4);
    else
        load(atoi(argv[2]), count, atoll(argv[4]), false);
    return 0;
}
