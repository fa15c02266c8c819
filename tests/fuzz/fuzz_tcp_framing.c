/*
 * Lines, separators and counts over bytes that come in arbitrary pieces: what is read must be what
 * a search over all of them finds, wherever they were split.
 *
 * The first byte says what is read, the second how the rest is split, the third how long the
 * separator is that follows.
 */
#define _GNU_SOURCE /* memmem */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "modules/net/tcp_socket.h"

enum { LINE, KEEP, UNTIL, EXACT, MODES, LIMIT = 1024 };

static ev_loop *loop;
static net *shared;

typedef struct reader {
    tcp *s;
    int peer;
    const char *data; /* all that will come */
    size_t size, sent, taken, step;
    int mode, n;
    const char *sep;
    size_t sep_len;
} reader;

static int call(reader *r, const char **out)
{
    fastcall c = {.object = r->s};
    ptrdiff_t n;
    /* As after a wake, in a new turn. There is no task: a wait is LINKS_REFUSED. */
    r->s->calls = 0;
    if (r->mode == UNTIL)
        return links_tcp_read_until(&r->s->view, r->sep, r->sep_len, LIMIT, 0, out);
    c.number = r->mode == EXACT ? r->n : r->mode == KEEP;
    n = r->mode == EXACT ? tcp_fast_read(&c) : tcp_fast_read_line(&c);
    *out = c.out;
    return (int)n;
}

/* Sends the next piece; at the end, the end. */
static void feed(reader *r)
{
    size_t n = r->size - r->sent < r->step ? r->size - r->sent : r->step;
    if (n)
        assert(write(r->peer, r->data + r->sent, n) == (ssize_t)n);
    else
        shutdown(r->peer, SHUT_WR);
    r->sent += n;
    r->s->stream.readable = true;
    r->s->reader_woken = true;
}

/* What ought to be read: its length, or LINKS_EOF, LINKS_EXCEED_BUF_SIZE. `whole`: what it
 * takes. */
static int expected(const reader *r, size_t *whole)
{
    const char *at = r->data + r->taken;
    size_t left = r->size - r->taken;
    if (r->mode == EXACT) {
        *whole = (size_t)r->n;
        return left >= *whole ? r->n : LINKS_EOF;
    }
    const char *sep = r->mode == UNTIL ? r->sep : "\n";
    size_t sep_len = r->mode == UNTIL ? r->sep_len : 1;
    const char *found = left ? memmem(at, left < LIMIT ? left : LIMIT, sep, sep_len) : NULL;
    if (!found)
        return left >= LIMIT ? LINKS_EXCEED_BUF_SIZE : LINKS_EOF;
    *whole = (size_t)(found - at) + sep_len;
    size_t len = *whole - sep_len;
    if (r->mode == KEEP)
        len = *whole;
    else if (r->mode == LINE && len && found[-1] == '\r')
        len--;
    return (int)len;
}

static void run(reader *r)
{
    for (int rounds = 0; rounds < 4096; rounds++) {
        const char *out = NULL;
        size_t whole = 0;
        int n;
        while ((n = call(r, &out)) == LINKS_REFUSED)
            feed(r);
        assert(n == expected(r, &whole));
        if (n < 0)
            return;
        assert(memcmp(out, r->data + r->taken, (size_t)n) == 0);
        r->taken += whole;
        if (!whole)
            return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!loop) {
        loop = ev_loop_new();
        shared = net_open(loop);
    }
    if (size < 4 || size > 16384)
        return 0;
    size_t sep_len = 1 + data[2] % 8u;
    if (size < 3 + sep_len)
        return 0;
    int fds[2], rc;
    assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    links_tcp_options options = {.read_buffer_size = LIMIT};
    reader r = {
        .s = tcp_new(shared, fds[0], &options, &rc),
        .peer = fds[1],
        .data = (const char *)data + 3 + sep_len,
        .size = size - 3 - sep_len,
        .step = 1 + data[1] % 64u,
        .mode = data[0] % MODES,
        .n = data[2],
        .sep = (const char *)data + 3,
        .sep_len = sep_len,
    };
    assert(r.s);
    run(&r);
    close(r.peer);
    tcp_discard(r.s);
    ev_loop_turn(loop, 0);
    return 0;
}
