#define _GNU_SOURCE
#include "modules/net/listener.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

static int accepted[512], naccepted;

static void on_accept(listener *l, int fd, const address *peer)
{
    (void)l;
    cr_assert_eq(peer->family, l->local.family);
    cr_assert_neq(peer->port, 0);
    accepted[naccepted++] = fd;
}

static ev_loop *loop;
static listener l;

static void setup(void)
{
    naccepted = 0;
    loop = ev_loop_new();
    address at;
    cr_assert_eq(address_parse(&at, "127.0.0.1", 0), 0);
    l.accepted = on_accept;
    cr_assert_eq(listener_open(&l, loop, &at, &(listener_options){.nodelay = true}), 0);
    cr_assert_neq(l.local.port, 0);
}

static void teardown(void)
{
    listener_close(&l);
    for (int i = 0; i < naccepted; i++)
        close(accepted[i]);
    ev_loop_free(loop);
}

TestSuite(listener, .init = setup, .fini = teardown);

static int dial(void)
{
    struct sockaddr_storage ss;
    socklen_t len = address_to_sockaddr(&l.local, &ss);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&ss, len), 0);
    return fd;
}

Test(listener, accepts_what_does_not_block_and_is_not_inherited)
{
    int fd = dial();
    cr_assert_eq(ev_loop_turn(loop, PATIENCE_MS), 0);
    cr_assert_eq(naccepted, 1);
    cr_assert(fcntl(accepted[0], F_GETFL) & O_NONBLOCK);
    cr_assert(fcntl(accepted[0], F_GETFD) & FD_CLOEXEC);
    close(fd);
}

Test(listener, takes_a_flood_in_several_turns)
{
    enum { CLIENTS = LISTENER_BURST * 4 };
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = dial();
    ev_loop_turn(loop, PATIENCE_MS);
    /* One burst for the event, and one for the timer that goes on with it. */
    cr_assert_leq(naccepted, LISTENER_BURST * 2);
    for (int i = 0; i < 10 && naccepted < CLIENTS; i++)
        ev_loop_turn(loop, PATIENCE_MS);
    cr_assert_eq(naccepted, CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
}

Test(listener, leaves_the_queue_alone_while_paused)
{
    listener_pause(&l);
    int fd = dial();
    ev_loop_turn(loop, 100);
    ev_loop_turn(loop, 0);
    cr_assert_eq(naccepted, 0);
    listener_resume(&l);
    ev_loop_turn(loop, PATIENCE_MS);
    cr_assert_eq(naccepted, 1);
    close(fd);
}

/* How many have not been turned away. */
static int waiting(const int *clients, int n)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        struct pollfd p = {.fd = clients[i], .events = POLLIN};
        count += poll(&p, 1, 0) == 0;
    }
    return count;
}

Test(listener, turns_clients_away_when_no_descriptor_is_left)
{
    int clients[3];
    for (int i = 0; i < 3; i++)
        clients[i] = dial();

    struct rlimit old, none;
    getrlimit(RLIMIT_NOFILE, &old);
    none = old;
    int lowest = dup(0); /* no number from here on may be taken */
    close(lowest);
    none.rlim_cur = (rlim_t)lowest;
    setrlimit(RLIMIT_NOFILE, &none);
    for (int i = 0; i < PATIENCE_MS / 10 && waiting(clients, 3); i++)
        ev_loop_turn(loop, 10);
    setrlimit(RLIMIT_NOFILE, &old);

    cr_assert_eq(naccepted, 0);
    cr_assert_eq(waiting(clients, 3), 0);
    for (int i = 0; i < 3; i++)
        close(clients[i]);
    /* ... and serves again afterwards. */
    int fd = dial();
    for (int i = 0; i < 5 && !naccepted; i++)
        ev_loop_turn(loop, PATIENCE_MS);
    cr_assert_eq(naccepted, 1);
    close(fd);
}

Test(listener, says_that_a_port_is_taken)
{
    listener other = {.accepted = on_accept};
    cr_assert_eq(listener_open(&other, loop, &l.local, &(listener_options){0}), -EADDRINUSE);
}

Test(listener, closes_twice)
{
    listener_close(&l);
    listener_close(&l);
}

Test(address, reads_and_writes_both_families)
{
    address a;
    char text[ADDRESS_TEXT_MAX];
    cr_assert_eq(address_parse(&a, "::1", 80), 0);
    cr_assert_eq(address_format(&a, text), 3);
    cr_assert_str_eq(text, "::1");
    struct sockaddr_storage ss;
    address_to_sockaddr(&a, &ss);
    address b;
    address_from_sockaddr(&b, &ss);
    cr_assert_eq(b.port, 80);
    cr_assert_eq(b.family, 6);
    cr_assert_eq(address_parse(&a, "localhost", 80), -EINVAL);
    cr_assert_eq(address_parse(&a, "", 80), -EINVAL);
    cr_assert_eq(address_parse(&a, "1.2.3.4.5", 80), -EINVAL);
}

Test(listener, takes_data_with_the_syn_where_it_is_asked_to)
{
    listener fast = {.accepted = on_accept};
    address at;
    int queue = 0;
    socklen_t len = sizeof(queue);
    cr_assert_eq(address_parse(&at, "127.0.0.1", 0), 0);
    cr_assert_eq(listener_open(&fast, loop, &at, &(listener_options){.fast_open = 7}), 0);
#ifdef TCP_FASTOPEN
    cr_assert_eq(getsockopt(fast.io.fd, IPPROTO_TCP, TCP_FASTOPEN, &queue, &len), 0);
    cr_assert_eq(queue, 7);
    cr_assert_eq(getsockopt(l.io.fd, IPPROTO_TCP, TCP_FASTOPEN, &queue, &len), 0);
    cr_assert_eq(queue, 0);
#endif
    listener_close(&fast);
}
