/*
 * The client of tcp.sh.
 *
 *     tcp_client echo PORT COUNT MS     COUNT connections, each with a 64-byte message under way, for MS;
 *                                       prints "messages microseconds"
 *     tcp_client churn PORT COUNT MS    COUNT at a time: connect, one message there and back, close
 *     tcp_client sink                   takes connections and drops what comes; prints its port
 *     tcp_client pump PORT 1 MS         sends 1 MiB blocks for MS; prints "blocks microseconds"
 *     tcp_client hold PORT COUNT PID    COUNT connections that send nothing; prints by how many bytes per
 *                                       connection PID's private memory grew
 *
 * A reply that is not what was sent ends the program with an error.
 */
#define _GNU_SOURCE
#define PROGRAM "tcp_client"
#include "messages.h"

static char message[MESSAGE];

static int open_one(int port, int i) { return connect_to(port, i); }

static void send_message(int fd)
{
    if (send(fd, message, MESSAGE, MSG_NOSIGNAL) != MESSAGE)
        die("send: %s", strerror(errno));
}

static void take_reply(int fd)
{
    char reply[MESSAGE];
    if (recv(fd, reply, MESSAGE, MSG_WAITALL) != MESSAGE || memcmp(reply, message, MESSAGE) != 0)
        die("reply: %s", strerror(errno));
}

static char block[1048576];

static void sink(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) < 0 ||
        listen(listener, 8) < 0 || getsockname(listener, (struct sockaddr *)&at, &len) < 0)
        die("listen: %s", strerror(errno));
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        while (fd >= 0 && read(fd, block, sizeof block) > 0)
            ;
        close(fd);
    }
}

static void pump(int port, int64_t ms)
{
    long done = 0;
    int fd = connect_to(port, 0);
    int64_t begin = now_ns(), now = begin;
    for (; now < begin + ms * 1000000; done++, now = now_ns())
        for (size_t at = 0; at < sizeof block;) {
            ssize_t n = send(fd, block + at, sizeof block - at, MSG_NOSIGNAL);
            if (n < 0)
                die("send: %s", strerror(errno));
            at += (size_t)n;
        }
    printf("%ld %lld\n", done, (long long)(now - begin) / 1000);
}

int main(int argc, char **argv)
{
    int count = argc == 5 ? atoi(argv[3]) : 0;
    if (argc == 2 && strcmp(argv[1], "sink") == 0)
        sink();
    if (count < 1 || count > MAX_COUNT) {
        fprintf(stderr, "usage: tcp_client echo|churn|pump|hold PORT COUNT MS|PID, or sink\n");
        return 2;
    }
    memset(message, 'x', sizeof message);
    if (strcmp(argv[1], "hold") == 0)
        hold(atoi(argv[2]), count, number(argv[4], 1L << 22));
    else if (strcmp(argv[1], "pump") == 0)
        pump(atoi(argv[2]), atoll(argv[4]));
    else
        load(atoi(argv[2]), count, atoll(argv[4]), strcmp(argv[1], "churn") == 0);
    return 0;
}
