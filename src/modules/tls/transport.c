#include "modules/tls/transport.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/mem.h"
#include "modules/net/address.h"
#include "modules/net/tcp_socket.h"
#include "modules/net/wire.h"
#include "modules/tls/ktls.h"

enum {
    RECORD_MAX = 16384,   /* bytes that one record holds */
    SEAL_MAX = 65536,     /* encrypted before the socket is asked to take it */
    WRITE_MAX = 524288,   /* in one call: then the others have their turn */
    COLLECT_MAX = 131072, /* made by libssl in one go; what is beyond goes into chunks */
    MERGE_MAX = 4096,     /* a piece up to this shares a record with the next */
    IDLE_MAX = 65536,     /* read without a byte for the program among it */
    ANSWERS_MAX = 16384,  /* made for a peer who does not take them */
    REASON_MAX = 160,
    DISCARD_CALLS = 16,
};

typedef struct links_tls {
    transport base; /* first: the stream's pointer is ours */
    stream *stream; /* as of the last call: it may move */
    SSL *ssl;
    BIO *kernel; /* of ktls.h; NULL: it is not to be had */
    tls_context *context;
    tls_asking asking;
    chunk *first;          /* what was read before; NULL: nothing */
    chunk *out, *out_last; /* what the socket did not take */
    ev_timer timer;        /* of the handshake */
    waitq waiters;
    char *reason;
    char *host;       /* of a client: whom it expects; NULL: it does not say */
    int error;        /* stays */
    int broken;       /* why nothing more can be sent; the next write meets it */
    int system_error; /* of the last call to the socket */
    size_t idle;      /* bytes read since the program has got some */
    size_t answers;   /* bytes that libssl has made of itself while the socket took nothing */
    bool open;        /* the handshake is over */
    bool empty;       /* the socket is: an event will tell of more */
    bool eof;         /* ... and will give no more */
    bool plain_is_fine;
    bool over;      /* no more is to be made: the end has been said */
    bool then_shut; /* the socket, when everything has gone */
    bool end_waits; /* the kernel could not take it */
} tls;

static tls *tls_of(transport *t) { return (tls *)t; }

static const transport_ops ops;

/* --- to the socket ---------------------------------------------------------------------------- */

/* What libssl makes in one call of ours: nothing lies here between two of them. */
static char *collected;
static size_t ncollected;

static void keep(tls *t, const char *data, size_t len)
{
    chunk_pool *pool = &t->stream->net->chunks;
    while (len) {
        chunk *c = t->out_last;
        if (!c || c->end == CHUNK_SIZE) {
            c = chunk_get(pool);
            *(t->out ? &t->out_last->next : &t->out) = c;
            t->out_last = c;
        }
        size_t n = CHUNK_SIZE - c->end < len ? CHUNK_SIZE - c->end : len;
        memcpy(c->data + c->end, data, n);
        c->end += (uint32_t)n;
        data += n;
        len -= n;
    }
}

static void drop_kept(tls *t)
{
    while (t->out) {
        chunk *c = t->out;
        t->out = c->next;
        chunk_put(&t->stream->net->chunks, c);
    }
    t->out_last = NULL;
}

static ssize_t send_some(const stream *s, const char *data, size_t len)
{
    ssize_t n;
    do
        n = send(s->io.fd, data, len, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/* 0: all of it has gone. */
static int send_kept(tls *t, stream *s)
{
    while (t->out) {
        chunk *c = t->out;
        ssize_t n = send_some(s, c->data + c->start, c->end - c->start);
        if (n < 0)
            return (int)n;
        c->start += (uint32_t)n;
        if (c->start < c->end)
            continue;
        t->out = c->next;
        if (!t->out)
            t->out_last = NULL;
        chunk_put(&s->net->chunks, c);
    }
    return 0;
}

static size_t kept(const tls *t)
{
    size_t n = 0;
    for (const chunk *c = t->out; c; c = c->next)
        n += c->end - c->start;
    return n;
}

/* Sends what is kept and what has been collected. 0; -EAGAIN, and the rest is kept; -errno, and it
 * is dropped. */
static int flush(tls *t)
{
    stream *s = t->stream;
    size_t done = 0;
    if (!t->out && !ncollected)
        return 0;
    int rc = s->writable ? send_kept(t, s) : -EAGAIN;
    while (rc == 0 && done < ncollected) {
        ssize_t n = send_some(s, collected + done, ncollected - done);
        if (n < 0)
            rc = (int)n;
        else
            done += (size_t)n;
    }
    if (rc == -EWOULDBLOCK)
        rc = -EAGAIN;
    if (rc == -EAGAIN) {
        s->writable = false;
        keep(t, collected + done, ncollected - done);
    } else if (rc < 0) {
        t->broken = rc;
        drop_kept(t);
    }
    ncollected = 0;
    stream_sealed(s, t->out ? kept(t) : 0);
    if (rc == 0 && t->then_shut) {
        t->then_shut = false;
        (void)shutdown(s->io.fd, SHUT_WR);
    }
    return rc;
}

/* What is kept of the handshake goes out with the first bytes that follow it. False where it is too
 * much for that. */
static bool collect_kept(tls *t)
{
    size_t len = kept(t);
    if (len > COLLECT_MAX / 4 || ncollected)
        return false;
    for (const chunk *c = t->out; c; c = c->next) {
        memcpy(collected + ncollected, c->data + c->start, c->end - c->start);
        ncollected += c->end - c->start;
    }
    drop_kept(t);
    return true;
}

/* What libssl has to say while the kernel encrypts: it goes at once, or libssl says it again. */
static int write_to_kernel(BIO *bio, BIO *kernel, const char *data, int len)
{
    int n = BIO_write(kernel, data, len);
    if (n <= 0 && BIO_should_retry(kernel))
        BIO_set_retry_write(bio);
    return n;
}

static int bio_write(BIO *bio, const char *data, int len)
{
    tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (len <= 0)
        return 0;
    if (ktls_is_on(t->kernel))
        return write_to_kernel(bio, t->kernel, data, len);
    if (ncollected + (size_t)len > COLLECT_MAX) {
        keep(t, collected, ncollected);
        ncollected = 0;
    }
    if ((size_t)len > COLLECT_MAX) {
        keep(t, data, (size_t)len);
        return len;
    }
    if (!collected)
        collected = mem_alloc(COLLECT_MAX);
    memcpy(collected + ncollected, data, (size_t)len);
    ncollected += (size_t)len;
    return len;
}

/* Changes of keys and the like are no reason to go on for ever, as libssl would: it comes back with
 * bytes for the program only. None needs more of them than a record. */
static bool is_endless(const tls *t) { return t->idle > IDLE_MAX || t->answers > ANSWERS_MAX; }

static int read_first(tls *t, char *data, int len)
{
    chunk *c = t->first;
    int have = (int)(c->end - c->start);
    if (len > have)
        len = have;
    memcpy(data, c->data + c->start, (size_t)len);
    c->start += (uint32_t)len;
    if (c->start == c->end) {
        t->first = NULL;
        chunk_put(&t->stream->net->chunks, c);
    }
    return len;
}

static int bio_read(BIO *bio, char *data, int len)
{
    tls *t = BIO_get_data(bio);
    stream *s = t->stream;
    BIO_clear_retry_flags(bio);
    if (t->first)
        return read_first(t, data, len);
    if (t->empty) {
        BIO_set_retry_read(bio);
        return -1;
    }
    ssize_t n = wire_recv(s->io.fd, data, (size_t)len);
    if (n == -EAGAIN || n == -EWOULDBLOCK) {
        t->empty = true;
        BIO_set_retry_read(bio);
        return -1;
    }
    if (n < 0)
        t->system_error = (int)-n;
    else if (n == 0)
        t->eof = true;
    else if (n < len && !s->hung_up)
        t->empty = true;
    if (n > 0 && t->open)
        t->idle += (size_t)n;
    return is_endless(t) ? -1 : (int)n;
}

static long bio_ctrl(BIO *bio, int command, long number, void *data)
{
    tls *t = BIO_get_data(bio);
    if (t->kernel && ktls_is_ours(command)) {
        bool is_clear = ktls_only_asks(command) || flush(t) == 0;
        return ktls_ctrl(t->kernel, t->ssl, command, number, data, is_clear);
    }
    switch (command) {
    case BIO_CTRL_EOF:
        return t->eof;
    case BIO_CTRL_FLUSH:
        return 1;
    default:
        return 0;
    }
}

static BIO *bio_new(tls *t)
{
    static BIO_METHOD *method;
    if (!method) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "links stream");
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_ctrl(method, bio_ctrl);
    }
    BIO *bio = BIO_new(method);
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    return bio;
}

/* --- what went wrong -------------------------------------------------------------------------- */

static void explain(tls *t, const char *reason)
{
    if (t->reason || !reason)
        return;
    t->reason = mem_alloc(REASON_MAX);
    snprintf(t->reason, REASON_MAX, "%s", reason);
}

static int verify_failure(tls *t)
{
    long result = SSL_get_verify_result(t->ssl);
    explain(t, X509_verify_cert_error_string(result));
    bool name = result == X509_V_ERR_HOSTNAME_MISMATCH || result == X509_V_ERR_IP_ADDRESS_MISMATCH;
    return name ? LINKS_TLS_HOSTNAME : LINKS_TLS_CERT_VERIFY;
}

static int ssl_failure(tls *t)
{
    unsigned long e = ERR_peek_error();
    int reason = ERR_GET_REASON(e);
    switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return verify_failure(t);
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        if (t->open)
            return LINKS_TLS_TRUNCATED;
        explain(t, "the peer has left during the handshake");
        return LINKS_TLS_HANDSHAKE;
    case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL:
    case SSL_R_NO_APPLICATION_PROTOCOL:
        return LINKS_TLS_NO_ALPN;
    default:
        explain(t, ERR_reason_error_string(e));
        if (reason >= SSL_AD_REASON_OFFSET)
            return LINKS_TLS_ALERT;
        return t->open ? LINKS_PROTOCOL : LINKS_TLS_HANDSHAKE;
    }
}

/* What a call of libssl that has returned `rc` means: -EAGAIN, or the end of the connection. */
static int result_of(tls *t, int rc)
{
    switch (SSL_get_error(t->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
    case SSL_ERROR_WANT_CLIENT_HELLO_CB:
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return LINKS_EOF;
    case SSL_ERROR_SYSCALL:
        if (t->system_error)
            return -t->system_error;
        if (is_endless(t))
            return LINKS_PROTOCOL;
        return t->open ? LINKS_TLS_TRUNCATED : LINKS_TLS_HANDSHAKE;
    default:
        rc = ssl_failure(t);
        ERR_clear_error();
        return rc;
    }
}

/* --- the handshake ---------------------------------------------------------------------------- */

/* Of all contexts, those that are gone included. */
static struct {
    double done, resumed, failed;
} totals;

void links_tls_totals(double out[3])
{
    out[0] = totals.done;
    out[1] = totals.resumed;
    out[2] = totals.failed;
}

static void end_handshake(tls *t, int rc)
{
    stream *s = t->stream;
    links_tls_context *counts = &t->context->view;
    ev_timer_stop(s->net->loop, &t->timer);
    list_remove(&t->asking.link);
    if (rc == 0) {
        t->open = true;
        counts->handshakes++;
        counts->resumed += SSL_session_reused(t->ssl);
        totals.done++;
        totals.resumed += SSL_session_reused(t->ssl);
        s->writable = !t->out;
        t->base.passes_files = ktls_is_on(t->kernel);
        stream_resume(s);
    } else {
        t->error = rc;
        counts->failed++;
        totals.failed++;
        /* Who leaves or says nothing has nothing to complain of. */
        if (rc <= LINKS_TLS_HANDSHAKE && !t->eof)
            tls_failures_note(t->context, rc, t->reason, s);
    }
    s->readable = true;
    waitq_wake_all(&t->waiters, 0);
}

/* Plain HTTP begins with the letters of a method, TLS with the byte 22. */
static bool is_plain(const stream *s)
{
    char first;
    ssize_t n;
    do
        n = recv(s->io.fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n == 1 && first >= 'A' && first <= 'Z';
}

/* One step of it: true when it is over. */
static bool step(tls *t)
{
    if (t->error || t->asking.state == ASKING_ASKED)
        return t->error;
    t->system_error = 0;
    ERR_clear_error();
    int rc = SSL_do_handshake(t->ssl);
    rc = rc == 1 ? 0 : result_of(t, rc);
    /* Nobody waits for the ticket: it leaves with the answer, or at the end of the turn. */
    bool defer = rc == 0 && t->context->server && !t->out;
    int sent = defer ? 0 : flush(t);
    if (sent < 0 && sent != -EAGAIN && (rc == 0 || rc == -EAGAIN))
        rc = sent;
    if (rc == -EAGAIN)
        return false;
    end_handshake(t, rc);
    if (defer) {
        keep(t, collected, ncollected);
        ncollected = 0;
        stream_sealed(t->stream, t->out ? kept(t) : 0);
        stream_resume(t->stream);
    }
    return true;
}

static void tell(tls *t)
{
    stream *s = t->stream;
    s->ops->readable(s);
    ev_loop_again(s->net->loop); /* this may be after the run step */
}

static void on_timer(ev_loop *loop, ev_timer *timer)
{
    (void)loop;
    tls *t = CONTAINER_OF(timer, tls, timer);
    end_handshake(t, -ETIMEDOUT);
    tell(t);
}

void tls_go_on(tls_asking *asking)
{
    tls *t = CONTAINER_OF(asking, tls, asking);
    t->empty = false;
    if (step(t))
        tell(t);
}

static void release(tls *t)
{
    ev_timer_stop(t->stream->net->loop, &t->timer);
    list_remove(&t->asking.link);
    waitq_wake_all(&t->waiters, LINKS_CLOSED);
    drop_kept(t);
    chunk_put(&t->stream->net->chunks, t->first);
    SSL_free(t->ssl);
    BIO_free(t->kernel);
    tls_context_unref(t->asking.with);
    tls_context_unref(t->context);
    free(t->asking.name);
    free(t->host);
    mem_free(t->reason);
    mem_free(t);
}

/* --- as the stream sees it -------------------------------------------------------------------- */

static bool on_event(transport *base, stream *s, int events)
{
    tls *t = tls_of(base);
    t->stream = s;
    if (events & (EV_READ | EV_EOF))
        t->empty = false;
    bool kernel_waited = ktls_is_on(t->kernel) && events & EV_WRITE;
    if (t->open || (!(events & (EV_READ | EV_EOF)) && !kernel_waited))
        return true;
    if (t->plain_is_fine && is_plain(s)) {
        s->transport = NULL;
        release(t);
        return true;
    }
    t->plain_is_fine = false;
    return step(t);
}

/* An alert, or an answer to a change of keys. */
static void send_answers(tls *t)
{
    t->answers += ncollected;
    (void)flush(t);
    if (!t->out)
        t->answers = 0;
}

static ssize_t on_read(transport *base, stream *s, void *data, size_t len)
{
    tls *t = tls_of(base);
    t->stream = s;
    size_t total = 0;
    int n = 0;
    if (!t->open || t->error) {
        s->readable = false;
        return t->error ? t->error : -EAGAIN;
    }
    t->system_error = 0;
    ERR_clear_error();
    do {
        size_t room = len - total;
        n = SSL_read(t->ssl, (char *)data + total, room < INT_MAX ? (int)room : INT_MAX);
        total += n > 0 ? (size_t)n : 0;
    } while (n > 0 && total < len && SSL_has_pending(t->ssl));
    int rc = n > 0 ? 0 : result_of(t, n);
    if (total)
        t->idle = 0;
    if (ncollected)
        send_answers(t);
    if (rc < 0 && rc != -EAGAIN)
        t->error = rc;
    s->readable = total ? rc < 0 ? rc != -EAGAIN : SSL_has_pending(t->ssl) || !t->empty : false;
    return total ? (ssize_t)total : rc;
}

/* The pieces that are left. */
typedef struct cursor {
    const struct iovec *iov;
    int count;
    size_t skip;
} cursor;

static void advance(cursor *c, size_t n)
{
    c->skip += n;
    while (c->count && c->skip >= c->iov->iov_len) {
        c->skip -= c->iov->iov_len;
        c->iov++;
        c->count--;
    }
}

/* What the next records are made of: small pieces share one. */
static const char *next_piece(cursor *c, size_t *len)
{
    static char merged[RECORD_MAX];
    const char *at = (const char *)c->iov->iov_base + c->skip;
    *len = c->iov->iov_len - c->skip;
    if (*len > MERGE_MAX || c->count == 1) {
        if (*len > SEAL_MAX)
            *len = SEAL_MAX;
        advance(c, *len);
        return at;
    }
    size_t n = 0;
    while (c->count && n < RECORD_MAX) {
        size_t part = c->iov->iov_len - c->skip;
        if (part > RECORD_MAX - n)
            part = RECORD_MAX - n;
        memcpy(merged + n, (const char *)c->iov->iov_base + c->skip, part);
        n += part;
        advance(c, part);
    }
    *len = n;
    return merged;
}

/* The kernel makes records of them. */
static ssize_t send_pieces(stream *s, const struct iovec *iov, int count)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count};
    ssize_t n;
    do
        n = sendmsg(s->io.fd, &msg, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        s->writable = false;
        return -EAGAIN;
    }
    return n < 0 ? -errno : n;
}

static ssize_t say_the_end_again(tls *t);

static ssize_t on_write(transport *base, stream *s, const struct iovec *iov, int count)
{
    tls *t = tls_of(base);
    t->stream = s;
    size_t taken = 0;
    if (t->broken)
        return t->broken;
    int rc = count && t->out && s->writable && collect_kept(t) ? 0 : flush(t);
    if (rc < 0)
        return rc;
    if (t->error && t->error != LINKS_EOF)
        return t->error;
    cursor c = {iov, count, 0};
    advance(&c, 0);
    if (c.count && (!t->open || t->over)) {
        s->writable = false;
        return t->over ? -EPIPE : -EAGAIN;
    }
    if (t->end_waits)
        return say_the_end_again(t);
    if (c.count && ktls_is_on(t->kernel))
        return send_pieces(s, iov, count);
    while (c.count && taken < WRITE_MAX) {
        size_t len;
        const char *piece = next_piece(&c, &len);
        ERR_clear_error();
        int n = SSL_write(t->ssl, piece, (int)len);
        if (n <= 0) {
            rc = result_of(t, n);
            ncollected = 0;
            t->error = rc == -EAGAIN ? LINKS_PROTOCOL : rc;
            return t->error;
        }
        taken += (size_t)n;
        if (ncollected < SEAL_MAX && c.count)
            continue;
        rc = flush(t);
        if (rc < 0)
            break;
    }
    if (rc == 0)
        rc = flush(t);
    return rc < 0 && rc != -EAGAIN ? rc : (ssize_t)taken;
}

static bool on_quiet(transport *base, stream *s)
{
    tls *t = tls_of(base);
    char byte;
    t->stream = s;
    if (!t->open || t->error)
        return false;
    t->empty = false;
    ERR_clear_error();
    int n = SSL_peek(t->ssl, &byte, 1);
    int rc = n > 0 ? 0 : result_of(t, n);
    if (rc < 0 && rc != -EAGAIN)
        t->error = rc;
    if (ncollected)
        send_answers(t);
    return rc == -EAGAIN;
}

/* close_notify: the peer knows then that it has got everything. */
static void say_the_end(tls *t)
{
    if (t->over || !t->open || t->stream->cut || (t->error && t->error != LINKS_EOF))
        return;
    t->over = true;
    ERR_clear_error();
    t->end_waits = SSL_shutdown(t->ssl) < 0 && SSL_want_write(t->ssl);
    ERR_clear_error();
}

/* The stream comes back for it as for a byte that is kept. */
static ssize_t say_the_end_again(tls *t)
{
    t->over = false;
    say_the_end(t);
    stream_sealed(t->stream, t->end_waits);
    if (t->end_waits)
        t->stream->writable = false;
    else if (t->then_shut)
        (void)shutdown(t->stream->io.fd, SHUT_WR);
    return t->end_waits ? -EAGAIN : 0;
}

static void on_shutdown(transport *base, stream *s)
{
    tls *t = tls_of(base);
    t->stream = s;
    say_the_end(t);
    t->then_shut = true;
    if (t->out || ncollected) {
        (void)flush(t);
        return;
    }
    if (t->end_waits) {
        s->writable = false;
        stream_sealed(s, 1);
        return;
    }
    t->then_shut = false;
    (void)shutdown(s->io.fd, SHUT_WR);
}

/* What nobody reads, such as a ticket that came last: closing a socket with unread input makes the
 * system send a reset, which may overtake our last bytes. */
static void discard(const stream *s)
{
    char sink[4096];
    for (int i = 0; i < DISCARD_CALLS; i++) {
        ssize_t n = recv(s->io.fd, sink, sizeof(sink), 0);
        if (n < (ssize_t)sizeof(sink) && !(n < 0 && errno == EINTR))
            return;
    }
}

static void on_close(transport *base, stream *s, bool clean)
{
    tls *t = tls_of(base);
    t->stream = s;
    if (clean) {
        say_the_end(t);
        if (ncollected)
            (void)send_some(s, collected, ncollected);
        discard(s);
    }
    ncollected = 0;
    release(t);
}

static const transport_ops ops = {
    .read = on_read,
    .write = on_write,
    .event = on_event,
    .quiet = on_quiet,
    .shutdown = on_shutdown,
    .close = on_close,
};

/* --- beginning -------------------------------------------------------------------------------- */

tls_context *tls_context_of_ssl(const SSL *ssl) { return ((tls *)SSL_get_app_data(ssl))->context; }

tls_context *tls_context_chosen(const SSL *ssl)
{
    const tls *t = SSL_get_app_data(ssl);
    return t->asking.with ? t->asking.with : t->context;
}

const char *tls_host_of_ssl(const SSL *ssl) { return ((tls *)SSL_get_app_data(ssl))->host; }

const SSL *tls_ssl_of(const tls *t) { return t->ssl; }

bool tls_is_kernels(const tls *t) { return ktls_is_on(t->kernel); }

int tls_asking_fd(const tls_asking *asking)
{
    return CONTAINER_OF(asking, tls, asking)->stream->io.fd;
}

tls_asking *tls_asking_of(void *ssl) { return &((tls *)SSL_get_app_data((SSL *)ssl))->asking; }

/* The name that the server is told, and that its certificate must have; addresses are not told. */
static void expect(tls *t, const char *host)
{
    address a;
    X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
    bool is_address = address_parse(&a, host, 0) == 0;
    t->host = strdup(host);
    tls_sessions_use(t->context, t->ssl, host);
    if (!is_address)
        (void)SSL_set_tlsext_host_name(t->ssl, host);
    if (!t->context->check_host || t->context->insecure)
        return;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (is_address)
        (void)X509_VERIFY_PARAM_set1_ip_asc(param, host);
    else
        (void)X509_VERIFY_PARAM_set1_host(param, host, 0);
}

/* New keys for what we write, which the peer may ask for, do not get to the kernel: nothing more
 * can be said then. */
static void on_message(int is_sent, int version, int type, const void *data, size_t len, SSL *ssl,
                       void *arg)
{
    (void)version;
    (void)arg;
    tls *t = SSL_get_app_data(ssl);
    if (!is_sent || type != SSL3_RT_HANDSHAKE || !len ||
        *(const unsigned char *)data != SSL3_MT_KEY_UPDATE || !ktls_is_on(t->kernel))
        return;
    explain(t, "the peer has asked for new keys, which the kernel cannot be given");
    t->broken = LINKS_UNSUPPORTED;
}

bool tls_begin(stream *s) { return step(tls_of(s->transport)); }

void tls_attach(stream *s, tls_context *context, const char *host, chunk *first)
{
    tls *t = mem_new(tls);
    t->base.ops = &ops;
    t->stream = s;
    t->first = first;
    t->context = tls_context_ref(context);
    t->ssl = SSL_new(context->ssl);
    if (!t->ssl)
        abort(); /* out of memory: see base/mem.h */
    list_init(&t->asking.link);
    waitq_init(&t->waiters);
    ev_timer_init(&t->timer, on_timer);
    SSL_set_app_data(t->ssl, t);
    BIO *bio = bio_new(t);
    SSL_set_bio(t->ssl, bio, bio);
    if (context->ktls)
        t->kernel = ktls_new(t->ssl, s->io.fd);
    if (t->kernel)
        SSL_set_msg_callback(t->ssl, on_message);
    if (context->server)
        SSL_set_accept_state(t->ssl);
    else
        SSL_set_connect_state(t->ssl);
    if (host)
        expect(t, host);
    s->transport = &t->base;
    if (context->handshake_timeout)
        ev_timer_start(s->net->loop, &t->timer, context->handshake_timeout, 0);
}

tls *tls_of_stream(const stream *s)
{
    return s->transport && s->transport->ops == &ops ? tls_of(s->transport) : NULL;
}

void tls_let_plain_through(stream *s) { tls_of(s->transport)->plain_is_fine = true; }

/* --- for Lua ---------------------------------------------------------------------------------- */

int links_tls_start(links_tcp *socket, links_tls_context *context, const char *host,
                    int after_proxy)
{
    tcp *s = tcp_of(socket);
    int rc = tcp_read_begin(s);
    if (rc == 0)
        rc = tcp_write_begin(s);
    if (rc < 0)
        return rc;
    if (s->stream.transport)
        return -EALREADY;
    /* What came before the handshake may be anybody's, but for what followed a proxy's header. */
    if (tcp_have(s) && !after_proxy)
        return LINKS_PROTOCOL;
    if (s->fds)
        return LINKS_UNSUPPORTED;
    if (s->stream.out_len) {
        rc = tcp_flush_for(s);
        if (rc < 0)
            return rc;
    }
    tls_attach(&s->stream, tls_context_of(context), host, s->in);
    s->in = NULL;
    (void)tls_begin(&s->stream);
    return 0;
}

int links_tls_handshake(links_tcp *socket)
{
    tcp *s = tcp_of(socket);
    if (s->view.closed)
        return LINKS_CLOSED;
    tls *t = tls_of_stream(&s->stream);
    if (!t)
        return -ENOTCONN;
    if (t->open)
        return 0;
    return t->error ? t->error : sched_park(&t->waiters, 0, SCHED_IO, "tls handshake");
}

tls *links_tls_of(links_tcp *socket) { return tls_of_stream(&tcp_of(socket)->stream); }

const char *links_tls_reason(const tls *t) { return t->reason ? t->reason : ""; }
