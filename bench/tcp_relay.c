/*
 * The floor of tcp.sh's relay: a TCP proxy for one connection, by read and write or by splice.
 *
 *     tcp_relay copy|splice TARGET    127.0.0.1, any free port, which it prints; ends on SIGTERM
 *
 * One direction at a time moves, as in the benchmark: it blocks, which costs nothing but a wait.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BLOCK = 1048576 };

static char block[BLOCK];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int new_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("socket");
    return fd;
}

static void copy(int from, int to)
{
    ssize_t n;
    while ((n = read(from, block, BLOCK)) > 0)
        for (ssize_t done = 0, k; done < n; done += k)
            if ((k = write(to, block + done, (size_t)(n - done))) < 0)
                return;
}

static void move(int from, int to)
{
    int ends[2];
    ssize_t n;
    if (pipe(ends) < 0)
        die("pipe");
    fcntl(ends[1], F_SETPIPE_SZ, BLOCK);
    while ((n = splice(from, NULL, ends[1], NULL, BLOCK, SPLICE_F_MOVE)) > 0)
        for (ssize_t k; n > 0; n -= k)
            if ((k = splice(ends[0], NULL, to, NULL, (size_t)n, SPLICE_F_MOVE)) < 0)
                return;
    close(ends[0]);
    close(ends[1]);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in target = at;
    socklen_t len = sizeof at;
    target.sin_port = htons((in_port_t)atoi(argv[2]));
    int listener = new_socket();
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 8) < 0 ||
        getsockname(listener, (struct sockaddr *)&at, &len) < 0)
        die("listen");
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        int client = accept(listener, NULL, NULL), server = new_socket();
        if (client < 0 || connect(server, (struct sockaddr *)&target, sizeof target) < 0)
            die("connect");
        if (strcmp(argv[1], "splice") == 0)
            move(client, server);
        else
            copy(client, server);
        close(client);
        close(server);
    }
}
