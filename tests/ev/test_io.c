#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#include "ev_test.h"

/* A watcher that remembers what it was told. */
typedef struct ear {
    ev_io io;
    int calls;
    int events; /* all that came */
} ear;

static void on_io(ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    ear *e = CONTAINER_OF(io, ear, io);
    e->calls++;
    e->events |= events;
}

static void listen_to(ev_loop *loop, ear *e, int fd)
{
    cr_assert_eq(ev_io_start(loop, &e->io, fd, on_io), 0);
}

/* What is told from now on. */
static void forget_past(ev_loop *loop, ear *e)
{
    test_settle(loop);
    e->calls = e->events = 0;
}

static void assert_told(ev_loop *loop, ear *e, int events)
{
    uint64_t end = test_clock_ns() + PATIENCE_MS * (uint64_t)1000000;
    while ((e->events & events) != events && test_clock_ns() < end)
        cr_assert_eq(ev_loop_turn(loop, 1000), 0);
    cr_assert_eq(e->events & events, events, "told of %d", e->events);
}

/* --- what is told ----------------------------------------------------------------------------- */

Test(ev_io, tells_first_what_is_ready_already)
{
    ev_loop *loop = test_loop();
    ear e = {.calls = 0};
    int fds[2];
    test_pair(fds);
    test_write(fds[1], "x");
    listen_to(loop, &e, fds[0]);
    test_turn(loop);
    cr_assert_eq(e.events, EV_READ | EV_WRITE);
    ev_io_close(loop, &e.io);
    close(fds[1]);
    ev_loop_free(loop);
}

Test(ev_io, tells_once_and_again_when_more_has_come)
{
    ev_loop *loop = test_loop();
    ear e = {.calls = 0};
    int fds[2];
    test_pair(fds);
    test_write(fds[1], "x");
    listen_to(loop, &e, fds[0]);
    forget_past(loop, &e);
    test_settle(loop);
    cr_assert_eq(e.calls, 0, "told again of what nobody has read");
    test_write(fds[1], "y");
    assert_told(loop, &e, EV_READ);
    ev_io_close(loop, &e.io);
    close(fds[1]);
    ev_loop_free(loop);
}

Test(ev_io, tells_when_there_is_room_again)
{
    ev_loop *loop = test_loop();
    ear e = {.calls = 0};
    int fds[2];
    char bytes[4096] = {0};
    test_pair(fds);
    listen_to(loop, &e, fds[0]);
    while (write(fds[0], bytes, sizeof(bytes)) > 0) {
    }
    cr_assert_eq(errno, EAGAIN);
    forget_past(loop, &e);
    while (read(fds[1], bytes, sizeof(bytes)) > 0) {
    }
    assert_told(loop, &e, EV_WRITE);
    ev_io_close(loop, &e.io);
    close(fds[1]);
    ev_loop_free(loop);
}

Test(ev_io, says_nothing_of_what_comes_while_it_is_muted_and_tells_it_afterwards)
{
    ev_loop *loop = test_loop();
    ear e = {.calls = 0};
    int fds[2];
    char bytes[4096] = {0};
    test_pair(fds);
    listen_to(loop, &e, fds[0]);
    while (write(fds[0], bytes, sizeof(bytes)) > 0) {
    }
    cr_assert_eq(ev_io_mute(loop, &e.io, true), 0);
    forget_past(loop, &e);
    test_write(fds[1], "x");
    test_settle(loop);
    cr_assert_eq(e.events & EV_READ, 0, "told of what has come");
    while (read(fds[1], bytes, sizeof(bytes)) > 0) {
    }
    assert_told(loop, &e, EV_WRITE);
    cr_assert_eq(e.events & EV_READ, 0, "told of what has come");
    cr_assert_eq(ev_io_mute(loop, &e.io, false), 0);
    assert_told(loop, &e, EV_READ);
    forget_past(loop, &e);
    test_write(fds[1], "y");
    assert_told(loop, &e, EV_READ);
    ev_io_close(loop, &e.io);
    close(fds[1]);
    ev_loop_free(loop);
}

Test(ev_io, tells_the_end_together_with_what_is_still_to_be_read)
{
    ev_loop *loop = test_loop();
    ear e = {.calls = 0};
    int fds[2];
    char bytes[8];
    test_pair(fds);
    listen_to(loop, &e, fds[0]);
    forget_past(loop, &e);
    test_write(fds[1], "last");
    cr_assert_eq(shutdown(fds[1], SHUT_WR), 0);
    assert_told(loop, &e, EV_READ | EV_EOF);
    cr_assert_eq(read(fds[0], bytes, sizeof(bytes)), 4);
    cr_assert_eq(read(fds[0], bytes, sizeof(bytes)), 0);
    test_write(fds[0], "still open this way");
    ev_io_close(loop, &e.io);
    close(fds[1]);
    ev_loop_free(loop);
}

Test(ev_io, tells_both_ends_of_a_pipe_that_the_other_is_gone)
{
    ev_loop *loop = test_loop();
    ear reader = {.calls = 0}, writer = {.calls = 0};
    int left_write[2], left_read[2];
    cr_assert_eq(pipe(left_read), 0);
    cr_assert_eq(pipe(left_write), 0);
    listen_to(loop, &reader, left_read[0]);
    listen_to(loop, &writer, left_write[1]);
    forget_past(loop, &reader);
    forget_past(loop, &writer);
    close(left_read[1]);
    close(left_write[0]);
    assert_told(loop, &reader, EV_READ | EV_EOF);
    assert_told(loop, &writer, EV_WRITE | EV_EOF);
    ev_io_close(loop, &reader.io);
    ev_io_close(loop, &writer.io);
    ev_loop_free(loop);
}

static struct sockaddr_in loopback(void)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* A bound TCP socket, and the address that the kernel gave it. */
static int bound_socket(struct sockaddr_in *addr)
{
    socklen_t len = sizeof(*addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    *addr = loopback();
    cr_assert_eq(bind(fd, (struct sockaddr *)addr, sizeof(*addr)), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)addr, &len), 0);
    return fd;
}

Test(ev_io, tells_of_a_refused_connection)
{
    ev_loop *loop = test_loop();
    ear e = {.calls = 0};
    struct sockaddr_in addr;
    int taken = bound_socket(&addr); /* and nobody listens on it */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    test_nonblocking(fd);
    int rc = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
    cr_assert(rc < 0 && (errno == EINPROGRESS || errno == ECONNREFUSED));
    listen_to(loop, &e, fd);
    assert_told(loop, &e, EV_READ | EV_WRITE | EV_EOF);
    ev_io_close(loop, &e.io);
    close(taken);
    ev_loop_free(loop);
}

Test(ev_io, tells_of_a_reset)
{
    ev_loop *loop = test_loop();
    ear e = {.calls = 0};
    struct sockaddr_in addr;
    char byte;
    int listener = bound_socket(&addr);
    cr_assert_eq(listen(listener, 1), 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(client, (struct sockaddr *)&addr, sizeof(addr)), 0);
    int server = accept(listener, NULL, NULL);
    test_nonblocking(server);
    listen_to(loop, &e, server);
    forget_past(loop, &e);
    struct linger reset = {.l_onoff = 1};
    setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close(client);
    assert_told(loop, &e, EV_READ | EV_EOF);
    cr_assert_eq(read(server, &byte, 1), -1);
    cr_assert_eq(errno, ECONNRESET);
    ev_io_close(loop, &e.io);
    close(listener);
    ev_loop_free(loop);
}

/* More at once than a turn takes from the system. */
Test(ev_io, loses_nobody_of_a_crowd)
{
    enum { N = 350 };
    ev_loop *loop = test_loop();
    static ear ears[N];
    int others[N], told = 0;
    for (int i = 0; i < N; i++) {
        int fds[2];
        test_pair(fds);
        others[i] = fds[1];
        listen_to(loop, &ears[i], fds[0]);
        test_write(fds[1], "x");
    }
    cr_assert_eq(ev_loop_stats(loop)->ios, (uint64_t)N);
    for (int turns = 0; told < N && turns < 20; turns++) {
        cr_assert_eq(ev_loop_turn(loop, 1000), 0);
        told = 0;
        for (int i = 0; i < N; i++)
            told += (ears[i].events & EV_READ) != 0;
    }
    cr_assert_eq(told, N);
    for (int i = 0; i < N; i++) {
        ev_io_close(loop, &ears[i].io);
        close(others[i]);
    }
    cr_assert_eq(ev_loop_stats(loop)->ios, 0u);
    ev_loop_free(loop);
}

/* --- the ends of a watch ---------------------------------------------------------------------- */

static int closings;

static void close_and_free_self(ev_loop *loop, ev_io *io, int events)
{
    (void)events;
    ev_io_close(loop, io);
    free(io);
    closings++;
}

Test(ev_io, can_be_closed_and_freed_by_its_own_callback)
{
    ev_loop *loop = test_loop();
    int fds[2];
    test_pair(fds);
    ev_io *io = malloc(sizeof(*io));
    cr_assert_eq(ev_io_start(loop, io, fds[0], close_and_free_self), 0);
    test_write(fds[1], "x"); /* on a kqueue, two events for one descriptor */
    test_settle(loop);
    cr_assert_eq(closings, 1);
    cr_assert_lt(fcntl(fds[0], F_GETFD), 0, "it is still open");
    close(fds[1]);
    ev_loop_free(loop);
}

static ev_io *pals[2];

static void close_and_free_pal(ev_loop *loop, ev_io *io, int events)
{
    (void)events;
    int pal = io == pals[0] ? 1 : 0;
    if (!pals[pal])
        return;
    ev_io_close(loop, pals[pal]);
    free(pals[pal]);
    pals[pal] = NULL;
    closings++;
}

Test(ev_io, can_be_closed_by_another_while_its_event_is_in_the_same_batch)
{
    ev_loop *loop = test_loop();
    int a[2], b[2];
    test_pair(a);
    test_pair(b);
    for (int i = 0; i < 2; i++) {
        pals[i] = malloc(sizeof(ev_io));
        cr_assert_eq(ev_io_start(loop, pals[i], i ? b[0] : a[0], close_and_free_pal), 0);
    }
    test_settle(loop);
    cr_assert_eq(closings, 1, "the closed one was called");
    ev_io *left = pals[0] ? pals[0] : pals[1];
    ev_io_close(loop, left);
    free(left);
    close(a[1]);
    close(b[1]);
    ev_loop_free(loop);
}

static ear successor;
static ev_io *first_ios[2];
static int successor_peer;

/* Closes the other one, and has a new watcher under its number at once. */
static void replace_other(ev_loop *loop, ev_io *io, int events)
{
    (void)events;
    ev_io *other = io == first_ios[0] ? first_ios[1] : first_ios[0];
    if (other->fd < 0 || successor.io.fd >= 0)
        return;
    int number = other->fd, fds[2];
    ev_io_close(loop, other);
    test_pair(fds);
    successor_peer = fds[0] == number ? fds[1] : fds[0];
    cr_assert(fds[0] == number || fds[1] == number);
    listen_to(loop, &successor, number);
}

Test(ev_io, is_not_told_what_was_meant_for_the_former_owner_of_its_number)
{
    ev_loop *loop = test_loop();
    int a[2], b[2];
    ev_io one, two;
    first_ios[0] = &one;
    first_ios[1] = &two;
    successor.io.fd = -1;
    test_pair(a);
    test_pair(b);
    cr_assert_eq(ev_io_start(loop, &one, a[0], replace_other), 0);
    cr_assert_eq(ev_io_start(loop, &two, b[0], replace_other), 0);
    test_turn(loop);
    cr_assert_geq(successor.io.fd, 0);
    cr_assert_eq(successor.calls, 0);
    test_write(successor_peer, "x");
    assert_told(loop, &successor, EV_READ | EV_WRITE);
    ev_io_close(loop, &one);
    ev_io_close(loop, &two);
    ev_io_close(loop, &successor.io);
    ev_loop_free(loop);
}

/* The file stays open in a child, and with it what the kernel knows of it. */
Test(ev_io, is_not_reached_by_events_of_what_a_forked_child_still_holds)
{
    ev_loop *loop = test_loop();
    int fds[2], hold[2];
    test_pair(fds);
    cr_assert_eq(pipe(hold), 0);
    ev_io *io = malloc(sizeof(*io));
    cr_assert_eq(ev_io_start(loop, io, fds[0], close_and_free_self), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char byte;
        close(hold[1]);
        ssize_t n = read(hold[0], &byte, 1);
        _exit(n == 0 ? 0 : 1);
    }
    int number = fds[0];
    ev_io_close(loop, io);
    free(io);
    test_write(fds[1], "to the child's copy");
    test_settle(loop);
    cr_assert_eq(closings, 0);

    ear e = {.calls = 0};
    int others[2];
    test_pair(others);
    cr_assert_eq(others[0], number);
    listen_to(loop, &e, number);
    forget_past(loop, &e);
    test_write(fds[1], "more of it");
    test_settle(loop);
    cr_assert_eq(e.calls, 0);
    test_write(others[1], "x");
    assert_told(loop, &e, EV_READ);

    close(hold[1]);
    waitpid(pid, NULL, 0);
    ev_io_close(loop, &e.io);
    close(others[1]);
    close(fds[1]);
    ev_loop_free(loop);
}

Test(ev_io, leaves_the_descriptor_open_when_it_is_only_stopped)
{
    ev_loop *loop = test_loop();
    ear e = {.calls = 0};
    int fds[2];
    char byte;
    test_pair(fds);
    listen_to(loop, &e, fds[0]);
    forget_past(loop, &e);
    test_write(fds[1], "x");
    ev_io_stop(loop, &e.io);
    test_settle(loop);
    cr_assert_eq(e.calls, 0);
    listen_to(loop, &e, fds[0]);
    assert_told(loop, &e, EV_READ | EV_WRITE);
    cr_assert_eq(read(fds[0], &byte, 1), 1);
    ev_io_close(loop, &e.io);
    close(fds[1]);
    ev_loop_free(loop);
}

Test(ev_io, can_be_stopped_and_closed_when_it_is_not_started)
{
    ev_loop *loop = test_loop();
    ev_io zero = {0}, io;
    int fds[2];
    test_pair(fds);
    ev_io_stop(loop, &zero);
    ev_io_close(loop, &zero);
    cr_assert_geq(fcntl(0, F_GETFD), 0, "descriptor 0 was closed");
    cr_assert_eq(ev_io_start(loop, &io, fds[0], on_io), 0);
    ev_io_close(loop, &io);
    cr_assert_eq(io.fd, -1);
    int reused = dup(fds[1]);
    cr_assert_eq(reused, fds[0]);
    ev_io_close(loop, &io);
    ev_io_stop(loop, &io);
    cr_assert_geq(fcntl(reused, F_GETFD), 0, "another's descriptor was closed");
    close(reused);
    close(fds[1]);
    ev_loop_free(loop);
}

/* A duplicate keeps what the kernel knows of the file; dup2 brings it back under its number. */
Test(ev_io, watches_a_file_that_comes_back_under_its_former_number)
{
    ev_loop *loop = test_loop();
    ear e = {.calls = 0};
    int fds[2];
    test_pair(fds);
    int number = fds[0], copy = dup(fds[0]);
    listen_to(loop, &e, number);
    test_settle(loop);
    ev_io_close(loop, &e.io);
    cr_assert_eq(dup2(copy, number), number);
    e.events = 0;
    listen_to(loop, &e, number);
    assert_told(loop, &e, EV_WRITE);
    test_write(fds[1], "x");
    assert_told(loop, &e, EV_READ);
    ev_io_close(loop, &e.io);
    close(copy);
    close(fds[1]);
    ev_loop_free(loop);
}

/* --- errors ----------------------------------------------------------------------------------- */

Test(ev_io, is_not_started_on_what_cannot_be_watched)
{
    ev_loop *loop = test_loop();
    ev_io io;
    int fds[2];
    test_pair(fds);
    cr_assert_eq(ev_io_start(loop, &io, -1, on_io), -EBADF);
    cr_assert_eq(ev_io_start(loop, &io, 9999, on_io), -EBADF);
    cr_assert_eq(io.fd, -1);

    FILE *plain = tmpfile();
    cr_assert_eq(ev_io_start(loop, &io, fileno(plain), on_io), -EPERM);
    fclose(plain);

    ev_io twice;
    cr_assert_eq(ev_io_start(loop, &io, fds[0], on_io), 0);
    cr_assert_eq(ev_io_start(loop, &twice, fds[0], on_io), -EEXIST);
    cr_assert_eq(twice.fd, -1);
    cr_assert_eq(ev_loop_stats(loop)->ios, 1u);
    ev_io_close(loop, &io);
    close(fds[1]);
    ev_loop_free(loop);
}
