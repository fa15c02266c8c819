/*
 * TLS as the transport of a stream, against libssl itself on the other end of a socketpair, and
 * against itself with somebody in between who has the bytes in his hands.
 */
#define _GNU_SOURCE
#include "modules/tls/transport.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "modules/tls/ktls.h"

enum { PATIENCE_S = 20, BIG = 700000 };

/* One of our streams, whose owner reads whatever comes. */
typedef struct end {
    stream s;
    char *got;
    size_t ngot;
    ssize_t last; /* what the last read has answered */
    int failed;
    bool lazy; /* it does not read by itself */
} end;

static ev_loop *loop;
static net *n;
static end server, client;
static links_tls_context *server_ctx, *client_ctx;
static int peer = -1; /* the other end of the server's socket, where there is no client of ours */
static SSL_CTX *other_ctx;
static SSL *other; /* libssl on `peer` */
static char cert[8192], key[8192];

/* --- the owner of a stream -------------------------------------------------------------------- */

static void read_all(end *e)
{
    char buf[5000];
    while (stream_is_open(&e->s) && (e->last = stream_read(&e->s, buf, sizeof(buf))) > 0) {
        e->got = realloc(e->got, e->ngot + (size_t)e->last + 1);
        memcpy(e->got + e->ngot, buf, (size_t)e->last);
        e->ngot += (size_t)e->last;
        e->got[e->ngot] = '\0';
    }
}

static void on_readable(stream *s)
{
    end *e = (end *)s;
    if (!e->lazy)
        read_all(e);
}

static void on_drained(stream *s) { (void)s; }
static void on_failed(stream *s, int code) { ((end *)s)->failed = code; }

static const stream_ops ops = {on_readable, on_drained, on_failed, NULL};

static void open_end(end *e, int fd)
{
    *e = (end){.last = -EAGAIN};
    cr_assert_eq(stream_open(&e->s, n, fd, &ops), 0);
}

/* --- contexts --------------------------------------------------------------------------------- */

static links_tls_options options_of(bool is_server)
{
    return (links_tls_options){.server = is_server,
                               .min_version = 12,
                               .max_version = 13,
                               .check_host = 1,
                               .verify_depth = 9,
                               .tickets = 1};
}

static links_tls_context *context_of(const links_tls_options *o)
{
    links_tls_context *c = NULL;
    cr_assert_eq(links_tls_context_new(&c, o), 0, "%s", links_tls_problem());
    if (o->server)
        cr_assert_eq(links_tls_use(c, cert, strlen(cert), key, strlen(key), NULL), 0);
    else if (!o->insecure)
        cr_assert_eq(links_tls_trust(c, cert, strlen(cert)), 0);
    return c;
}

static void make_certificate(void)
{
    const char *pem;
    int len = links_cert_make("localhost\n127.0.0.1", 30, &pem);
    cr_assert_gt(len, 0);
    const char *second = memmem(pem, (size_t)len, "-----BEGIN CERTIFICATE", 22);
    memcpy(key, pem, (size_t)(second - pem));
    memcpy(cert, second, (size_t)(pem + len - second));
}

/* --- time ------------------------------------------------------------------------------------- */

static double clock_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Turns the loop until something is so; never for ever. */
#define AWAIT(what)                                                                                \
    for (double until_s = clock_s() + PATIENCE_S; !(what); ev_loop_turn(loop, 1))                  \
    cr_assert_lt(clock_s(), until_s, "waited too long for " #what)

/* --- the peers -------------------------------------------------------------------------------- */

static void begin_server(const links_tls_options *o)
{
    int fds[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    server_ctx = context_of(o);
    open_end(&server, fds[0]);
    tls_attach(&server.s, tls_context_of(server_ctx), NULL, NULL);
    (void)tls_begin(&server.s);
    peer = fds[1];
}

static void begin_other(int version)
{
    other_ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(other_ctx, version);
    other = SSL_new(other_ctx);
    cr_assert(other && SSL_set_fd(other, peer));
    SSL_set_connect_state(other);
}

/* One step of libssl's; whether it is through. */
static bool other_step(int *rc)
{
    ERR_clear_error(); /* both sides have one queue here */
    *rc = SSL_do_handshake(other);
    int why = *rc == 1 ? SSL_ERROR_NONE : SSL_get_error(other, *rc);
    return why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE;
}

static void shake_hands(void)
{
    int rc = 0;
    AWAIT(other_step(&rc));
    cr_assert_eq(rc, 1);
    AWAIT(server_ctx->handshakes == 1);
    /* A socket that is closed with something unread, such as the ticket, resets the other. */
    ev_loop_turn(loop, 0);
    cr_assert_eq(SSL_read(other, &(char){0}, 1), -1);
}

static void with_other(int version)
{
    links_tls_options o = options_of(true);
    begin_server(&o);
    begin_other(version);
    shake_hands();
}

/* Reads from libssl's end until so many bytes are there, or an end: the bytes. */
static size_t other_read(char *out, size_t len)
{
    size_t have = 0;
    double until_s = clock_s() + PATIENCE_S;
    while (have < len) {
        ERR_clear_error();
        int rc = SSL_read(other, out + have, (int)(len - have));
        if (rc <= 0 && SSL_get_error(other, rc) != SSL_ERROR_WANT_READ)
            break;
        have += rc > 0 ? (size_t)rc : 0;
        ev_loop_turn(loop, rc > 0 ? 0 : 1);
        cr_assert_lt(clock_s(), until_s, "the bytes do not come");
    }
    return have;
}

static void other_write(const char *data, size_t len)
{
    double until_s = clock_s() + PATIENCE_S;
    for (size_t done = 0; done < len; ev_loop_turn(loop, 0)) {
        int rc = SSL_write(other, data + done, (int)(len - done));
        done += rc > 0 ? (size_t)rc : 0;
        cr_assert_lt(clock_s(), until_s, "nobody takes the bytes");
    }
}

/* A client of ours, and two ends of wires in between. */
static int wires[2];

static void begin_pair(const links_tls_options *of_server, const links_tls_options *of_client,
                       const char *host)
{
    int fds[2];
    begin_server(of_server);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    client_ctx = context_of(of_client);
    open_end(&client, fds[0]);
    tls_attach(&client.s, tls_context_of(client_ctx), host, NULL);
    (void)tls_begin(&client.s);
    wires[0] = peer;
    wires[1] = fds[1];
    peer = -1;
}

/* Carries up to `max` bytes each way. */
static void carry(size_t max)
{
    char buf[65536];
    for (int i = 0; i < 2; i++) {
        ssize_t got = recv(wires[i], buf, max < sizeof(buf) ? max : sizeof(buf), 0);
        if (got > 0)
            cr_assert_eq(send(wires[1 - i], buf, (size_t)got, MSG_NOSIGNAL), got);
    }
    ev_loop_turn(loop, 0);
}

#define CARRY_UNTIL(max, what)                                                                     \
    for (double until_s = clock_s() + PATIENCE_S; !(what); carry(max))                             \
    cr_assert_lt(clock_s(), until_s, "waited too long for " #what)

static bool both_are_open(void) { return server_ctx->handshakes && client_ctx->handshakes; }

static void pair_up(void)
{
    links_tls_options s = options_of(true), c = options_of(false);
    begin_pair(&s, &c, "localhost");
    CARRY_UNTIL(65536, both_are_open());
    for (int i = 0; i < 3; i++)
        carry(65536); /* the ticket too */
}

/* --- the suite -------------------------------------------------------------------------------- */

static void setup(void)
{
    signal(SIGPIPE, SIG_IGN); /* libssl's own sockets raise it */
    loop = ev_loop_new();
    n = net_open(loop);
    wires[0] = wires[1] = -1;
    make_certificate();
}

static void close_end(end *e)
{
    if (e->s.ops)
        stream_close(&e->s);
    free(e->got);
    e->got = NULL;
}

static void teardown(void)
{
    close_end(&server);
    close_end(&client);
    SSL_free(other);
    SSL_CTX_free(other_ctx);
    for (int i = 0; i < 2; i++)
        if (wires[i] >= 0)
            close(wires[i]);
    if (peer >= 0)
        close(peer);
    cr_expect_eq(n->chunks.used, 0, "a buffer was kept");
    if (server_ctx)
        links_tls_context_free(server_ctx);
    if (client_ctx)
        links_tls_context_free(client_ctx);
    server_ctx = client_ctx = NULL;
    net_close(n);
    ev_loop_free(loop);
}

/* For tests/direct: translating libcrypto is most of a test's time under valgrind. */
void direct_prepare(void);
void direct_prepare(void)
{
    setup();
    links_tls_options s = options_of(true), c = options_of(false);
    begin_pair(&s, &c, "localhost");
    stream_append(&client.s, "asked", 5);
    CARRY_UNTIL(BIG, server.ngot == 5);
    teardown();
    signal(SIGPIPE, SIG_DFL);
}

TestSuite(tls, .init = setup, .fini = teardown, .timeout = 120);

/* --- bytes that come as they like ------------------------------------------------------------- */

Test(tls, takes_a_handshake_that_comes_a_byte_at_a_time_and_what_follows)
{
    links_tls_options s = options_of(true), c = options_of(false);
    begin_pair(&s, &c, "localhost");
    stream_append(&client.s, "asked", 5); /* waits for the handshake */
    CARRY_UNTIL(1, server.ngot == 5);
    cr_assert_str_eq(server.got, "asked");
    stream_append(&server.s, "answered", 8);
    CARRY_UNTIL(1, client.ngot == 8);
    cr_assert_str_eq(client.got, "answered");
    cr_assert(both_are_open());
    stream_shutdown(&client.s);
    CARRY_UNTIL(1, server.last == LINKS_EOF);
}

Test(tls, takes_a_handshake_of_tls_1_2_that_comes_a_byte_at_a_time)
{
    links_tls_options s = options_of(true), c = options_of(false);
    c.max_version = 12;
    begin_pair(&s, &c, "127.0.0.1");
    stream_append(&client.s, "asked", 5);
    CARRY_UNTIL(1, server.ngot == 5);
    const char *version;
    cr_assert_gt(links_tls_text(tls_of_stream(&server.s), LINKS_TLS_VERSION, &version), 0);
    cr_assert_str_eq(version, "TLSv1.2");
}

Test(tls, takes_a_first_message_that_is_split_anywhere)
{
    char hello[2048];
    links_tls_options s = options_of(true), c = options_of(false);
    begin_pair(&s, &c, "localhost");
    ssize_t len = recv(wires[1], hello, sizeof(hello), 0);
    cr_assert_gt(len, 100);
    for (ssize_t at = 1; at < len; at += at < 12 ? 1 : 41) {
        int fds[2];
        end e;
        cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        open_end(&e, fds[0]);
        tls_attach(&e.s, tls_context_of(server_ctx), NULL, NULL);
        cr_assert_eq(write(fds[1], hello, (size_t)at), at);
        ev_loop_turn(loop, 0);
        cr_assert_eq(recv(fds[1], &(char){0}, 1, MSG_PEEK), -1, "answered to half a message");
        cr_assert_eq(write(fds[1], hello + at, (size_t)(len - at)), len - at);
        char first = 0;
        AWAIT(recv(fds[1], &first, 1, 0) == 1);
        cr_assert_eq(first, 22); /* a record of the handshake */
        close_end(&e);
        close(fds[1]);
    }
}

Test(tls, moves_much_in_both_directions_at_once)
{
    static char sent[BIG];
    for (int i = 0; i < BIG; i++)
        sent[i] = (char)(i * 31 >> 3);
    pair_up();
    stream_append(&server.s, sent, BIG);
    stream_append(&client.s, sent, BIG);
    CARRY_UNTIL(7919, server.ngot == BIG && client.ngot == BIG);
    cr_assert_eq(memcmp(server.got, sent, BIG), 0);
    cr_assert_eq(memcmp(client.got, sent, BIG), 0);
    cr_assert_eq(server.s.out_len, 0u);
}

/* --- ends ------------------------------------------------------------------------------------- */

Test(tls, tells_the_end_that_was_said_from_being_cut_off)
{
    with_other(TLS1_3_VERSION);
    other_write("bye", 3);
    SSL_shutdown(other);
    AWAIT(server.last == LINKS_EOF);
    cr_assert_str_eq(server.got, "bye");
    char byte;
    stream_append(&server.s, "x", 1); /* we may still say something */
    cr_assert_eq(other_read(&byte, 1), 1u);
}

Test(tls, is_truncated_where_the_connection_ends_without_a_word)
{
    with_other(TLS1_3_VERSION);
    other_write("half", 4);
    close(peer);
    peer = -1;
    AWAIT(server.last != -EAGAIN && server.last <= 0);
    cr_assert_eq(server.last, LINKS_TLS_TRUNCATED);
    cr_assert_str_eq(server.got, "half");
    cr_assert_eq(stream_read(&server.s, &(char){0}, 1), LINKS_TLS_TRUNCATED, "it stays so");
}

Test(tls, is_truncated_in_the_middle_of_a_record)
{
    pair_up();
    stream_append(&client.s, "a whole record", 14);
    stream_flush(&client.s);
    char record[256];
    ssize_t len = recv(wires[1], record, sizeof(record), 0);
    cr_assert_gt(len, 14);
    cr_assert_eq(write(wires[0], record, (size_t)len - 1), len - 1);
    close(wires[0]);
    wires[0] = -1;
    AWAIT(server.last != -EAGAIN);
    cr_assert_eq(server.last, LINKS_TLS_TRUNCATED);
    cr_assert_eq(server.ngot, 0u);
}

Test(tls, says_its_end_after_all_that_was_written)
{
    char got[16];
    with_other(TLS1_3_VERSION);
    stream_append(&server.s, "the last word", 13);
    stream_flush(&server.s);
    stream_shutdown(&server.s);
    cr_assert_eq(other_read(got, sizeof(got)), 13u);
    cr_assert(SSL_get_shutdown(other) & SSL_RECEIVED_SHUTDOWN);
}

Test(tls, does_not_say_its_end_where_it_was_cut_short)
{
    char got[16];
    with_other(TLS1_3_VERSION);
    stream_append(&server.s, "half", 4);
    stream_flush(&server.s);
    server.s.cut = true;
    stream_close(&server.s);
    cr_assert_eq(other_read(got, sizeof(got)), 4u);
    cr_assert_not(SSL_get_shutdown(other) & SSL_RECEIVED_SHUTDOWN);
}

/* --- peers that do not keep to it ------------------------------------------------------------- */

Test(tls, ends_a_handshake_that_stalls_and_holds_nobody_up)
{
    links_tls_options o = options_of(true);
    o.handshake_timeout = 30;
    begin_server(&o);
    cr_assert_eq(write(peer, "\26\3\1", 3), 3);
    AWAIT(server_ctx->failed == 1);
    cr_assert_eq(server.last, -ETIMEDOUT);
    cr_assert_eq(stream_read(&server.s, &(char){0}, 1), -ETIMEDOUT);
}

Test(tls, takes_no_plain_text)
{
    char alert[16];
    links_tls_options o = options_of(true);
    begin_server(&o);
    cr_assert_eq(write(peer, "GET / HTTP/1.1\r\n\r\n", 18), 18);
    AWAIT(server_ctx->failed == 1);
    cr_assert_eq(server.last, LINKS_TLS_HANDSHAKE);
    cr_assert_str_eq(links_tls_reason(tls_of_stream(&server.s)), "http request");
    cr_assert_eq(server.ngot, 0u);
    (void)recv(peer, alert, sizeof(alert), 0);
}

Test(tls, lets_plain_text_through_where_it_may_come)
{
    links_tls_options o = options_of(true);
    begin_server(&o);
    tls_let_plain_through(&server.s);
    cr_assert_eq(write(peer, "GET", 3), 3);
    AWAIT(server.ngot == 3);
    cr_assert_null(tls_of_stream(&server.s));
    cr_assert_eq(server_ctx->failed, 0);
}

Test(tls, refuses_a_record_that_is_longer_than_records_are)
{
    static const char header[] = {23, 3, 3, 0x41, 0x01}; /* 16384 + 257 (RFC 8446, 5.2) */
    with_other(TLS1_3_VERSION);
    cr_assert_eq(write(peer, header, sizeof(header)), (ssize_t)sizeof(header));
    AWAIT(server.last != -EAGAIN);
    cr_assert_eq(server.last, LINKS_PROTOCOL);
    /* The peer is told why, and nothing more can be written. */
    cr_assert_eq(other_read(&(char){0}, 1), 0u);
    cr_assert_eq(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV1_ALERT_RECORD_OVERFLOW);
}

Test(tls, refuses_a_record_that_was_changed_on_the_way)
{
    pair_up();
    stream_append(&client.s, "pay 10", 6);
    stream_flush(&client.s);
    char record[256];
    ssize_t len = recv(wires[1], record, sizeof(record), 0);
    record[8] ^= 1;
    cr_assert_eq(write(wires[0], record, (size_t)len), len);
    AWAIT(server.last != -EAGAIN);
    cr_assert_eq(server.last, LINKS_PROTOCOL);
    cr_assert_eq(server.ngot, 0u);
    CARRY_UNTIL(65536, client.last != -EAGAIN);
    cr_assert_eq(client.last, LINKS_TLS_ALERT);
}

Test(tls, does_not_renegotiate)
{
    with_other(TLS1_2_VERSION);
    int rc = 0;
    cr_assert_eq(SSL_renegotiate(other), 1);
    AWAIT(other_step(&rc));
    cr_assert_neq(rc, 1);
    cr_assert_eq(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
    cr_assert_eq(server_ctx->handshakes, 1);
    cr_assert_eq(server.last, -EAGAIN, "the connection is as it was");
    cr_assert_eq(server.ngot, 0u);
}

Test(tls, changes_keys_where_the_peer_asks_for_that)
{
    char got[8];
    with_other(TLS1_3_VERSION);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(SSL_key_update(other, SSL_KEY_UPDATE_REQUESTED), 1);
        other_write("ping", 4);
        AWAIT(server.ngot == 4u * (size_t)(i + 1));
        stream_append(&server.s, "pong", 4);
        cr_assert_eq(other_read(got, 4), 4u);
    }
}

/* Whether the server puts an end to it. */
static bool ends_key_updates(int kind, bool with_data)
{
    size_t had = 0;
    for (int i = 0; i < 20000 && server.last == -EAGAIN; i++) {
        cr_assert_eq(SSL_key_update(other, kind), 1);
        (void)SSL_do_handshake(other);
        if (with_data)
            (void)SSL_write(other, "x", 1);
        ev_loop_turn(loop, 0);
        cr_assert_lt(server.s.sealed, 20000u, "%zu bytes are kept", server.s.sealed);
        had = server.ngot;
    }
    return server.last == LINKS_PROTOCOL && (had > 0) == with_data;
}

Test(tls, ends_a_peer_who_changes_keys_and_says_nothing)
{
    with_other(TLS1_3_VERSION);
    cr_assert(ends_key_updates(SSL_KEY_UPDATE_NOT_REQUESTED, false));
}

Test(tls, ends_a_peer_who_asks_for_new_keys_and_takes_none)
{
    int small = 4096;
    with_other(TLS1_3_VERSION);
    cr_assert_eq(setsockopt(server.s.io.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    cr_assert(ends_key_updates(SSL_KEY_UPDATE_REQUESTED, true));
}

Test(tls, fails_by_name_where_it_does_not_trust)
{
    links_tls_options s = options_of(true), c = options_of(false);
    begin_pair(&s, &c, "example.com");
    CARRY_UNTIL(65536, client_ctx->failed && server.last != -EAGAIN);
    cr_assert_eq(client.last, LINKS_TLS_HOSTNAME);
    cr_assert_eq(server.last, LINKS_TLS_ALERT);
}

/* --- output ----------------------------------------------------------------------------------- */

Test(tls, holds_back_what_a_slow_peer_does_not_take)
{
    static char sent[BIG], got[BIG];
    for (int i = 0; i < BIG; i++)
        sent[i] = (char)(i * 7 >> 2);
    with_other(TLS1_3_VERSION);
    stream_append(&server.s, sent, BIG);
    for (int i = 0; i < 50; i++)
        ev_loop_turn(loop, 0);
    cr_assert_gt(server.s.out_len, 0u);
    cr_assert_not(server.s.writable);
    cr_assert_lt(server.s.sealed, 200000u, "it encrypts what nobody takes: %zu bytes",
                 server.s.sealed);
    cr_assert_eq(other_read(got, BIG), (size_t)BIG);
    cr_assert_eq(memcmp(sent, got, BIG), 0);
    AWAIT(server.s.out_len == 0);
    cr_assert_eq(server.s.sealed, 0u);
}

Test(tls, takes_of_a_direct_write_what_there_is_room_for)
{
    static char sent[BIG], got[BIG];
    size_t done = 0, have = 0;
    double until_s = clock_s() + PATIENCE_S;
    memset(sent, 'x', BIG);
    with_other(TLS1_3_VERSION);
    while (have < BIG) {
        if (done < BIG) {
            ssize_t rc = stream_writev(&server.s, &(struct iovec){sent + done, BIG - done}, 1);
            cr_assert(rc > 0 || rc == -EAGAIN);
            done += rc > 0 ? (size_t)rc : 0;
        }
        int rc = SSL_read(other, got, 10000);
        have += rc > 0 ? (size_t)rc : 0;
        ev_loop_turn(loop, 0);
        cr_assert_lt(clock_s(), until_s);
    }
    cr_assert_eq(done, (size_t)BIG);
}

Test(tls, makes_one_packet_of_many_small_pieces)
{
    struct iovec pieces[STREAM_IOV_MAX];
    char got[STREAM_IOV_MAX * 3 + 1];
    with_other(TLS1_3_VERSION);
    other_write("x", 1); /* so that the tickets have been read before */
    AWAIT(server.ngot == 1);
    stream_append(&server.s, "y", 1);
    cr_assert_eq(other_read(got, 1), 1u);
    for (int i = 0; i < STREAM_IOV_MAX; i++)
        pieces[i] = (struct iovec){"abc", 3};
    cr_assert_eq(stream_writev(&server.s, pieces, STREAM_IOV_MAX), STREAM_IOV_MAX * 3);
    cr_assert_eq(SSL_read(other, got, sizeof(got)), STREAM_IOV_MAX * 3, "one record");
}

Test(tls, fails_a_write_whose_peer_has_gone)
{
    with_other(TLS1_3_VERSION);
    close(peer);
    peer = -1;
    static char much[BIG];
    stream_append(&server.s, much, BIG);
    AWAIT(server.failed);
    /* By the write, or because the end was read before. */
    cr_assert(server.failed == -EPIPE || server.failed == -ECONNRESET ||
              server.failed == LINKS_TLS_TRUNCATED);
}

/* --- ends in the middle ----------------------------------------------------------------------- */

Test(tls, may_be_closed_after_any_step_of_the_handshake)
{
    links_tls_options s = options_of(true), c = options_of(false);
    for (int steps = 0; steps < 6; steps++) {
        begin_pair(&s, &c, "localhost");
        stream_append(&server.s, "x", 1);
        for (int i = 0; i < steps; i++)
            carry(steps % 2 ? 65536 : 200);
        close_end(&server);
        close_end(&client);
        links_tls_context_free(server_ctx);
        links_tls_context_free(client_ctx);
        close(wires[0]);
        close(wires[1]);
        cr_assert_eq(n->chunks.used, 0);
    }
    server_ctx = client_ctx = NULL;
    wires[0] = wires[1] = -1;
}

Test(tls, goes_on_when_a_name_was_looked_up_and_forgets_who_has_left)
{
    const char *name;
    int len, status = 0;
    links_tls_options s = options_of(true), c = options_of(false);
    s.asks = 1;
    begin_pair(&s, &c, "localhost");
    double number = 0;
    CARRY_UNTIL(65536, !list_empty(&tls_context_of(server_ctx)->asked));
    number = links_tls_asked(server_ctx, &name, &len, &status);
    cr_assert_gt(number, 0);
    cr_assert_eq(len, 9);
    cr_assert_eq(memcmp(name, "localhost", 9), 0);
    carry(65536);
    cr_assert_not(both_are_open());
    links_tls_answer(server_ctx, number + 1, NULL, 1); /* nobody has that number */
    links_tls_answer(server_ctx, number, NULL, 0);
    CARRY_UNTIL(65536, both_are_open());
    links_tls_answer(server_ctx, number, NULL, 1); /* too late */
    stream_append(&client.s, "on", 2);
    CARRY_UNTIL(65536, server.ngot == 2);
}

Test(tls, that_is_idle_holds_no_buffer)
{
    char got[4];
    with_other(TLS1_3_VERSION);
    other_write("ping", 4);
    AWAIT(server.ngot == 4);
    stream_append(&server.s, "pong", 4);
    cr_assert_eq(other_read(got, 4), 4u);
    AWAIT(server.s.out_len == 0);
    cr_assert_eq(n->chunks.used, 0);
    cr_assert_not(server.s.readable);
}

/* --- the kernel's TLS ------------------------------------------------------------------------- */

/* A socket's BIO that says what it was told; it takes the keys for what is written. */
static int told, taken;

static long on_ctrl(BIO *bio, int command, long number, void *data)
{
    (void)bio;
    (void)data;
    told = command;
    taken += (int)number;
    return command == BIO_CTRL_GET_KTLS_SEND ? taken > 0 : 1;
}

Test(tls, gives_the_kernel_no_keys_that_it_must_not_have)
{
    enum { SET_KEYS = 72, RECORD_TYPE = 74 };
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "a kernel");
    BIO_meth_set_ctrl(method, on_ctrl);
    BIO *kernel = BIO_new(method);
    with_other(TLS1_3_VERSION);
    const SSL *ssl = tls_ssl_of(tls_of_stream(&server.s));
    cr_assert_eq(ktls_ctrl(kernel, ssl, SET_KEYS, 0, NULL, true), 0, "of what is read");
    cr_assert_eq(ktls_ctrl(kernel, ssl, SET_KEYS, 1, NULL, false), 0, "while something is kept");
    cr_assert_eq(ktls_ctrl(kernel, ssl, BIO_CTRL_GET_KTLS_RECV, 0, NULL, true), 0);
    cr_assert_eq(told, 0);
    cr_assert_not(ktls_is_on(kernel));
    cr_assert_eq(ktls_ctrl(kernel, ssl, SET_KEYS, 1, NULL, true), 1);
    cr_assert(ktls_is_on(kernel));
    cr_assert(ktls_is_ours(RECORD_TYPE) && !ktls_is_ours(BIO_CTRL_FLUSH));
    cr_assert_not(ktls_is_on(NULL));
    BIO_free(kernel);
    BIO_meth_free(method);
}

Test(tls, gives_the_kernel_no_keys_of_tls_1_2)
{
    enum { SET_KEYS = 72 };
    BIO *kernel = BIO_new(BIO_s_null());
    with_other(TLS1_2_VERSION);
    const SSL *ssl = tls_ssl_of(tls_of_stream(&server.s));
    cr_assert_eq(ktls_ctrl(kernel, ssl, SET_KEYS, 1, NULL, true), 0);
    BIO_free(kernel);
}

Test(tls, does_without_the_kernel_on_sockets_that_are_not_of_tcp)
{
    links_tls_options o = options_of(true);
    o.ktls = 1;
    begin_server(&o);
    begin_other(TLS1_3_VERSION);
    shake_hands();
    const char *out;
    cr_assert_eq(links_tls_text(tls_of_stream(&server.s), LINKS_TLS_KERNEL, &out), -1);
    other_write("ping", 4);
    AWAIT(server.ngot == 4);
}
