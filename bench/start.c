/*
 * How long a program takes to start, and how much memory it needs at most.
 *
 *     start run RUNS COMMAND...      from fork to its end; prints median milliseconds and peak KiB
 *     start answer RUNS COMMAND...   from fork to the first byte of its first reply, of a server that
 *                                    prints its port; it is then ended with SIGTERM
 *
 * This program is small, so that the fork is cheap and does not count in the child's peak.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_RUNS = 1000, GIVE_UP_S = 30 };

static void die(const char *what)
{
    fprintf(stderr, "start: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static pid_t start(char **command, int *from_child)
{
    int ends[2];
    if (pipe(ends) < 0)
        die("pipe");
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execv(command[0], command);
        _exit(127);
    }
    close(ends[1]);
    *from_child = ends[0];
    return pid;
}

static void await_answer(int from_child)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char text[64], reply[8];
    ssize_t n = read(from_child, text, sizeof text - 1);
    if (n <= 0) {
        errno = 0;
        die("the server printed no port");
    }
    text[n] = '\0';
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((in_port_t)atoi(text)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    if (write(fd, request, sizeof request - 1) < 0 || read(fd, reply, sizeof reply) <= 0)
        die("request");
    close(fd);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static double took_ms[MAX_RUNS];
    long peak_kib = 0;
    int runs = argc > 3 ? atoi(argv[2]) : 0;
    int answer = argc > 3 && strcmp(argv[1], "answer") == 0;
    if (runs < 1 || runs > MAX_RUNS || (!answer && strcmp(argv[1], "run") != 0)) {
        fprintf(stderr, "usage: start run|answer RUNS COMMAND...    RUNS from 1 to %d\n", MAX_RUNS);
        return 2;
    }
    for (int i = 0; i < runs; i++) {
        struct rusage usage;
        int from_child, status;
        alarm(GIVE_UP_S); /* ends this program, and the child with it */
        double begin = now_ms();
        pid_t pid = start(argv + 3, &from_child);
        if (answer) {
            await_answer(from_child);
            took_ms[i] = now_ms() - begin;
            kill(pid, SIGTERM);
        }
        if (wait4(pid, &status, 0, &usage) < 0)
            die("wait4");
        if (!answer)
            took_ms[i] = now_ms() - begin;
        if (!answer && status != 0) {
            fprintf(stderr, "start: %s did not end well (status %#x)\n", argv[3], status);
            return 1;
        }
        close(from_child);
        peak_kib = usage.ru_maxrss > peak_kib ? usage.ru_maxrss : peak_kib;
    }
    qsort(took_ms, (size_t)runs, sizeof took_ms[0], by_value);
    printf("%.2f %ld\n", took_ms[runs / 2], peak_kib);
    return 0;
}
