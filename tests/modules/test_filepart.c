#define _GNU_SOURCE
#include "modules/net/filepart.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "lua/vm.h"
#include "modules/work.h"

enum { SIZE = 3000000 };

static ev_loop *loop;
static net *n;
static stream s;
static int peer, drained, failed;
static shared_file *file;
static char *bytes, *got;

static void on_readable(stream *st) { (void)st; }
static void on_drained(stream *st) { (void)st, drained++; }
static void on_failed(stream *st, int code)
{
    failed = code;
    stream_close(st);
}

static const stream_ops ops = {.readable = on_readable, .drained = on_drained, .failed = on_failed};

static void setup(void)
{
    int fds[2];
    char name[] = "/tmp/links-filepart-XXXXXX";
    loop = ev_loop_new();
    cr_assert_eq(vm_open(loop), 0);
    n = net_open(loop);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    /* Less than the tests write, wherever they run. */
    cr_assert_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &(int){200000}, sizeof(int)), 0);
    cr_assert_eq(stream_open(&s, n, fds[0], &ops), 0);
    peer = fds[1];
    bytes = malloc(SIZE);
    got = calloc(1, SIZE + 100);
    for (unsigned i = 0; i < SIZE; i++)
        bytes[i] = (char)(i * 2654435761u >> 24);
    int fd = mkostemp(name, O_CLOEXEC);
    unlink(name);
    cr_assert_eq(write(fd, bytes, SIZE), SIZE);
    file = shared_file_new(fd);
    failed = drained = 0;
}

static void teardown(void)
{
    stream_close(&s);
    shared_file_unref(file);
    close(peer);
    free(bytes);
    free(got);
    vm_close();
    work_close();
    net_close(n);
    ev_loop_free(loop);
}

TestSuite(filepart, .init = setup, .fini = teardown, .timeout = 120);

/* Reads what comes until there are `want` bytes, or it ends. */
static size_t receive(size_t want)
{
    size_t have = 0;
    while (have < want) {
        ev_loop_turn(loop, 10);
        ssize_t rc = read(peer, got + have, SIZE + 100 - have);
        if (rc == 0)
            break;
        if (rc > 0)
            have += (size_t)rc;
    }
    return have;
}

Test(filepart, goes_out_in_its_place_among_the_bytes)
{
    stream_append(&s, "before", 6);
    stream_append_file(&s, file, 1000, 5000);
    stream_append(&s, "between", 7);
    stream_append_file(&s, file, 0, 10);
    stream_append(&s, "after", 5);
    cr_assert_eq(s.out_len, 6u + 5000 + 7 + 10 + 5);
    cr_assert_eq(receive(5028), 5028u);
    cr_assert_eq(memcmp(got, "before", 6), 0);
    cr_assert_eq(memcmp(got + 6, bytes + 1000, 5000), 0);
    cr_assert_eq(memcmp(got + 5006, "between", 7), 0);
    cr_assert_eq(memcmp(got + 5013, bytes, 10), 0);
    cr_assert_eq(memcmp(got + 5023, "after", 5), 0);
    cr_assert_eq(s.out_len, 0u);
    cr_assert_eq(file->refs, 1);
}

Test(filepart, goes_on_by_itself_as_the_peer_reads)
{
    stream_append_file(&s, file, 0, SIZE);
    for (int i = 0; i < 10; i++)
        ev_loop_turn(loop, 0);
    cr_assert_gt(s.out_len, 0u, "the socket takes less than that");
    cr_assert_eq(receive(SIZE), (size_t)SIZE);
    cr_assert_eq(memcmp(got, bytes, SIZE), 0);
    cr_assert_gt(drained, 1);
    cr_assert_eq(s.out_len, 0u);
}

Test(filepart, remembers_for_a_moment_what_was_in_memory)
{
    if (!sendfile_is_cached(file->fd, 0, SIZE))
        cr_skip_test("this system does not tell");
    stream_append_file(&s, file, 0, 5000);
    cr_assert_eq(receive(5000), 5000u);
    cr_assert_eq(file->seen, 5000);
    /* Once the moment is over it is looked at again. */
    file->seen_ms -= 1000;
    stream_append_file(&s, file, 1000, 10);
    cr_assert_eq(receive(10), 10u);
    cr_assert_eq(file->seen, 0);
    cr_assert_eq(memcmp(got, bytes + 1000, 10), 0);
}

Test(filepart, fails_where_the_file_ends_too_early)
{
    stream_append_file(&s, file, SIZE - 100, 200);
    cr_assert_eq(receive(101), 100u);
    cr_assert_eq(failed, -EIO);
    cr_assert_eq(file->refs, 1);
}

Test(filepart, lets_the_file_go_when_the_stream_closes)
{
    stream_append_file(&s, file, 0, SIZE);
    stream_append_file(&s, file, 0, SIZE);
    cr_assert_eq(file->refs, 3);
    ev_loop_turn(loop, 0);
    stream_close(&s);
    while (file->refs > 1)
        ev_loop_turn(loop, 10);
}

Test(filepart, is_not_begun_on_a_closed_stream)
{
    stream_close(&s);
    stream_append_file(&s, file, 0, 10);
    cr_assert_eq(file->refs, 1);
    cr_assert_null(s.out);
}

Test(filepart, is_read_by_a_thread_first_where_it_is_not_in_memory)
{
    /* Dropped from memory if the system can, and then a thread reads: whichever, it all comes. */
    fsync(file->fd);
    (void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
    bool cached = sendfile_is_cached(file->fd, 0, SIZE);
    stream_append_file(&s, file, 0, SIZE);
    ev_loop_turn(loop, 0);
    if (!cached)
        cr_assert_gt(ev_refs(loop), 0, "a thread is at it");
    cr_assert_eq(receive(SIZE), (size_t)SIZE);
    cr_assert_eq(memcmp(got, bytes, SIZE), 0);
}

Test(filepart, survives_its_stream_while_a_thread_reads)
{
    fsync(file->fd);
    (void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
    stream_append_file(&s, file, 0, SIZE);
    ev_loop_turn(loop, 0);
    stream_close(&s);
    while (file->refs > 1)
        ev_loop_turn(loop, 10);
    cr_assert_eq(failed, 0);
}
