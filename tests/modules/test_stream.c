#define _GNU_SOURCE
#include "modules/net/stream.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"

static ev_loop *loop;
static net *n;
static stream s;
static int peer;
static int readable, drained, failed, writable;

static void on_readable(stream *st) { (void)st, readable++; }
static void on_drained(stream *st) { (void)st, drained++; }
static void on_failed(stream *st, int code)
{
    failed = code;
    stream_close(st);
}

static void on_writable(stream *st) { (void)st, writable++; }

static const stream_ops ops = {on_readable, on_drained, on_failed, on_writable};

static void setup(void)
{
    int fds[2];
    loop = ev_loop_new();
    n = net_open(loop);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    /* Less than the tests write, wherever they run. */
    cr_assert_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &(int){200000}, sizeof(int)), 0);
    cr_assert_eq(stream_open(&s, n, fds[0], &ops), 0);
    peer = fds[1];
    readable = drained = failed = writable = 0;
}

static void teardown(void)
{
    stream_close(&s);
    if (peer >= 0)
        close(peer);
    net_close(n);
    ev_loop_free(loop);
}

TestSuite(stream, .init = setup, .fini = teardown);

Test(stream, writes_once_at_the_end_of_the_turn)
{
    char buf[64];
    stream_append(&s, "one ", 4);
    stream_append(&s, "two", 3);
    cr_assert_eq(read(peer, buf, sizeof(buf)), -1);
    ev_loop_turn(loop, 0);
    cr_assert_eq(read(peer, buf, sizeof(buf)), 7);
    cr_assert_eq(memcmp(buf, "one two", 7), 0);
    cr_assert_eq(drained, 1);
    cr_assert_eq(s.out_len, 0u);
    cr_assert_null(s.out);
}

Test(stream, remembers_that_there_is_something_to_read)
{
    char buf[4];
    cr_assert_eq(write(peer, "hello", 5), 5);
    ev_loop_turn(loop, 100);
    cr_assert_eq(readable, 1);
    cr_assert_eq(stream_read(&s, buf, 4), 4);
    cr_assert(s.readable, "a full buffer says nothing about what is left");
    cr_assert_eq(stream_read(&s, buf, 4), 1);
    cr_assert_not(s.readable, "a short read has emptied the socket");
}

Test(stream, reads_on_to_an_end_that_was_told_of)
{
    char buf[16];
    cr_assert_eq(write(peer, "hello", 5), 5);
    cr_assert_eq(shutdown(peer, SHUT_WR), 0);
    ev_loop_turn(loop, 100);
    cr_assert_eq(stream_read(&s, buf, sizeof(buf)), 5);
    cr_assert(s.readable);
    cr_assert_eq(stream_read(&s, buf, sizeof(buf)), LINKS_EOF);
    cr_assert_not(s.readable);
}

Test(stream, keeps_what_the_system_does_not_take_and_goes_on)
{
    enum { TOTAL = 3000000 };
    static char big[TOTAL], got[TOTAL + 1];
    for (int i = 0; i < TOTAL; i++)
        big[i] = (char)(i * 31 >> 3);
    stream_append(&s, big, TOTAL);
    ev_loop_turn(loop, 0);
    cr_assert_gt(s.out_len, 0u);

    size_t have = 0;
    for (int i = 0; have < TOTAL && i < 100000; i++) {
        ssize_t rc = read(peer, got + have, TOTAL + 1 - have);
        if (rc > 0)
            have += (size_t)rc;
        ev_loop_turn(loop, 0);
    }
    cr_assert_eq(have, (size_t)TOTAL);
    cr_assert_eq(memcmp(big, got, TOTAL), 0);
    cr_assert_eq(s.out_len, 0u);
    cr_assert_eq(n->chunks.used, 0);
}

Test(stream, reserves_room_in_one_piece)
{
    char buf[CHUNK_SIZE + 100];
    memset(buf, 'a', CHUNK_SIZE - 10);
    stream_append(&s, buf, CHUNK_SIZE - 10);
    memcpy(stream_reserve(&s, 100), "0123456789ABCDEF", 16);
    stream_commit(&s, 16);
    ev_loop_turn(loop, 0);
    cr_assert_eq(read(peer, buf, sizeof(buf)), CHUNK_SIZE + 6);
    cr_assert_eq(memcmp(buf + CHUNK_SIZE - 10, "0123456789ABCDEF", 16), 0);
}

Test(stream, tells_of_a_write_that_failed)
{
    close(peer);
    peer = -1;
    stream_append(&s, "x", 1);
    ev_loop_turn(loop, 0);
    cr_assert_eq(failed, -EPIPE);
    cr_assert_not(stream_is_open(&s));
    cr_assert_eq(n->chunks.used, 0);
}

Test(stream, is_inert_once_closed)
{
    char c;
    stream_append(&s, "x", 1);
    stream_close(&s);
    stream_close(&s);
    stream_append(&s, "x", 1);
    ev_loop_turn(loop, 0);
    cr_assert_eq(stream_read(&s, &c, 1), LINKS_CLOSED);
    cr_assert_eq(read(peer, &c, 1), 0);
    cr_assert_eq(n->chunks.used, 0);
}

static int hooks;
static void on_hook(net_hook *hook)
{
    (void)hook;
    hooks++;
    stream_append(&s, "late", 4);
}

Test(stream, is_flushed_after_the_hooks_of_the_turn)
{
    net_hook hook;
    char buf[8];
    net_hook_start(n, &hook, on_hook);
    ev_loop_turn(loop, 0);
    net_hook_stop(&hook);
    cr_assert_eq(hooks, 1);
    cr_assert_eq(read(peer, buf, 8), 4);
}

Test(stream, writes_the_callers_bytes_behind_the_output_without_keeping_them)
{
    char buf[64];
    struct iovec iov[2] = {{.iov_base = "two ", .iov_len = 4}, {.iov_base = "three", .iov_len = 5}};
    stream_append(&s, "one ", 4);
    cr_assert_eq(stream_writev(&s, iov, 2), 9);
    cr_assert_eq(s.out_len, 0u);
    cr_assert_eq(read(peer, buf, sizeof(buf)), 13);
    cr_assert_eq(memcmp(buf, "one two three", 13), 0);
}

Test(stream, tells_how_much_was_taken_and_when_there_is_room_again)
{
    static char big[4000000], sink[65536];
    struct iovec iov = {.iov_base = big, .iov_len = sizeof(big)};
    ev_loop_turn(loop, 0);
    ssize_t n = stream_writev(&s, &iov, 1);
    cr_assert_gt(n, 0);
    cr_assert_lt(n, (ssize_t)sizeof(big));
    while (stream_writev(&s, &iov, 1) > 0)
        ;
    cr_assert_eq(stream_writev(&s, &iov, 1), -EAGAIN);
    int before = writable;
    while (read(peer, sink, sizeof(sink)) > 0)
        ;
    ev_loop_turn(loop, 0);
    cr_assert_gt(writable, before);
    cr_assert_gt(stream_writev(&s, &iov, 1), 0);
}

Test(stream, keeps_held_output_until_it_is_released)
{
    char buf[64];
    stream_hold(&s);
    stream_append(&s, "held", 4);
    ev_loop_turn(loop, 0);
    cr_assert_eq(read(peer, buf, sizeof(buf)), -1);
    stream_release(&s);
    ev_loop_turn(loop, 0);
    cr_assert_eq(read(peer, buf, sizeof(buf)), 4);
}

Test(stream, keeps_the_loop_going_while_output_waits_for_its_peer)
{
    static char big[4000000], sink[65536];
    int before = ev_refs(loop);
    for (size_t at = 0; at < sizeof(big); at += 10000)
        stream_append(&s, big + at, 10000);
    ev_loop_turn(loop, 0);
    cr_assert_eq(ev_refs(loop), before + 1);
    for (int i = 0; i < 1000 && s.out_len; i++) {
        while (read(peer, sink, sizeof(sink)) > 0)
            ;
        ev_loop_turn(loop, 0);
    }
    cr_assert_eq(s.out_len, 0u);
    cr_assert_eq(ev_refs(loop), before);
}
