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
#define PROGRAM "tls_client"
#include "load.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

static SSL_CTX *ctx;
static SSL_SESSION *session;
static int keep_sessions;

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
    int fd = connect_to(port, i);
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    if (session)
        SSL_set_session(ssl, session);
    int resumes = session != NULL;
    if (SSL_connect(ssl) != 1) {
        ERR_print_errors_fp(stderr);
        die("handshake");
    }
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
    int64_t begun = now_ns(), count = 0;
    while (now_ns() - begun < ms * 1000000) {
        SSL *ssl = open_one(port, (int)count++);
        int fd = SSL_get_fd(ssl);
        ask(ssl, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 1);
        SSL_shutdown(ssl);
        SSL_free(ssl);
        close(fd);
    }
    printf("result %lld %lld 0 0\n", (long long)count, (long long)(now_ns() - begun) / 1000);
}

static void hold(int port, int count, long pid)
{
    allow_connections(count);
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
        hold(port, atoi(argv[3]), number(argv[4], 1L << 22));
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
