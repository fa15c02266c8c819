/*
 * The client of tls.sh.
 *
 *     tls_client full PORT MS           connect, handshake, one request, its answer, close; for MS.
 *                                       Prints "result connections microseconds 0 0"
 *     tls_client resumed PORT MS        the same, each session taken up again from the one before
 *     tls_client hold PORT COUNT PID    COUNT connections that have had an answer each and say nothing
 *                                       more; prints by how many bytes per connection PID's private
 *                                       memory grew
 *
 * It speaks TLS 1.3. A handshake that fails, or was not resumed where it should, ends it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SOURCES = 16 };

static SSL_CTX *ctx;
static SSL_SESSION *session;
static int keep_sessions;

static void die(const char *what)
{
    fprintf(stderr, "tls_client: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* A ticket of TLS 1.3 is good for one connection, which brings the next. */
static int on_session(SSL *ssl, SSL_SESSION *s)
{
    (void)ssl;
    if (!keep_sessions)
        return 0;
    SSL_SESSION_free(session);
    session = s;
    return 1;
}

static SSL *open_one(int port, int i)
{
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (in_addr_t)(i % SOURCES))};
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((in_port_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0)
        die("socket");
    setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(fd, SOL_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    if (session)
        SSL_set_session(ssl, session);
    int resumes = session != NULL;
    if (SSL_connect(ssl) != 1)
        die("handshake");
    if (resumes && !SSL_session_reused(ssl))
        die("the session was not resumed");
    return ssl;
}

static void ask(SSL *ssl, const char *request, int to_the_end)
{
    char data[4096];
    int n, total = 0;
    if (SSL_write(ssl, request, (int)strlen(request)) <= 0)
        die("write");
    while ((n = SSL_read(ssl, data, sizeof data)) > 0) {
        total += n;
        if (!to_the_end)
            break;
    }
    if (!total)
        die("no answer");
}

static void run(int port, int64_t ms)
{
    int64_t begun = now_us(), count = 0;
    while (now_us() - begun < ms * 1000) {
        SSL *ssl = open_one(port, (int)count++);
        int fd = SSL_get_fd(ssl);
        ask(ssl, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 1);
        SSL_shutdown(ssl);
        SSL_free(ssl);
        close(fd);
    }
    printf("result %lld %lld 0 0\n", (long long)count, (long long)(now_us() - begun));
}

static long private_bytes(int pid)
{
    char path[64], line[256];
    long sum = 0, kb;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        die(path);
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "Private_%*[^:]: %ld kB", &kb) == 1)
            sum += kb * 1024;
    fclose(file);
    return sum;
}

static void hold(int port, int count, int pid)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    SSL *first = open_one(port, 0);
    ask(first, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 0);
    long before = private_bytes(pid);
    for (int i = 0; i < count; i++)
        ask(open_one(port, i), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 0);
    sleep(3); /* for pools to give back what they do not need */
    printf("%ld\n", (private_bytes(pid) - before) / count);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        die("see the head of tls_client.c");
    ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_session);
    int port = atoi(argv[2]);
    if (!strcmp(argv[1], "hold") && argc == 5) {
        hold(port, atoi(argv[3]), atoi(argv[4]));
        return 0;
    }
    if (!strcmp(argv[1], "resumed")) {
        keep_sessions = 1;
        SSL *ssl = open_one(port, 0);
        ask(ssl, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 1);
        if (!session)
            die("there was no session");
    }
    run(port, atoi(argv[3]));
    return 0;
}
