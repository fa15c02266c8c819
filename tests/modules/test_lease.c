#include "modules/process/lease.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "modules/net/inherited.h"
#include "modules/process/process.h"

static bool is_open(int fd) { return fcntl(fd, F_GETFD) >= 0; }

static lent_request tcp_request(int nth)
{
    lent_request what = {.kind = LENT_TCP, .nth = nth, .options.reuseport = true};
    cr_assert_eq(address_parse(&what.at, "127.0.0.1", 0), 0);
    return what;
}

static int port_of(int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);
    address at;
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
    address_from_sockaddr(&at, &ss);
    return at.port;
}

/* Everything as it goes from one master to the next, with descriptors of the next one's own. */
static int copy_all(char texts[8][LEASE_TEXT], int fds[8])
{
    lease_place place = {0};
    int n = 0, fd;
    while (n < 8 && (fd = lease_next(&place, texts[n])) >= 0)
        fds[n++] = dup(fd);
    return n;
}

Test(lease, is_the_same_in_the_next_master)
{
    char texts[8][LEASE_TEXT];
    int fds[8];
    uint32_t id;
    holder first = {.slot = 0, .generation = 1, .serial = 1};
    holder second = {.slot = 1, .generation = 1, .serial = 2};
    lent_request what = tcp_request(1);
    int port = port_of(lease_lend(&first, &what, &id));
    cr_assert_eq(port_of(lease_lend(&second, &what, &id)), port);

    cr_assert_eq(copy_all(texts, fds), 2);
    links_cluster_close();
    for (int i = 0; i < 2; i++)
        cr_assert_eq(lease_restore(fds[i], texts[i]), 0);

    /* The same sockets, and for a slot more one on the same port. */
    holder third = {.slot = 2, .generation = 1, .serial = 3};
    cr_assert_eq(lease_lend(&first, &what, &id), fds[0]);
    cr_assert_eq(lease_lend(&second, &what, &id), fds[1]);
    cr_assert_eq(port_of(lease_lend(&third, &what, &id)), port);
    what = tcp_request(2);
    cr_assert_neq(port_of(lease_lend(&first, &what, &id)), port);

    /* With one worker fewer, and with a program that opens less. */
    links_cluster_trim(1);
    cr_assert(is_open(fds[0]) && !is_open(fds[1]));
    links_cluster_sweep(2);
    cr_assert(!is_open(fds[0]));
}

Test(lease, of_a_path_and_of_a_name_is_known_by_them)
{
    uint32_t id;
    holder who = {.slot = 3, .generation = 1, .serial = 1};
    lent_request path = {.kind = LENT_UNIX, .path_len = 8, .path = "/tmp/a b"};
    lent_request name = {.kind = LENT_NAMED, .what = SOCK_STREAM, .path_len = 5, .path = "web:2"};
    int one = dup(0), other = dup(0);
    cr_assert_eq(lease_restore(one, "2 0 0 - 0 0 0 0 1 0 /tmp/a b"), 0);
    char text[LEASE_TEXT];
    snprintf(text, sizeof(text), "6 %d 0 - 0 0 0 0 1 0 web:2", SOCK_STREAM);
    cr_assert_eq(lease_restore(other, text), 0);
    cr_assert_eq(lease_lend(&who, &path, &id), one);
    cr_assert_eq(lease_lend(&who, &name, &id), other);
    name.what = SOCK_DGRAM;
    cr_assert_eq(lease_lend(&who, &name, &id), LINKS_NOT_FOUND);
    links_cluster_close();
}

Test(lease, is_refused_for_a_text_that_is_none)
{
    static const char *const wrong[] = {
        "",
        "1",
        "x 0 4 127.0.0.1 80 0 0 0 0 0 ",
        "1 0 4 127.0.0.1 80 0 0 0 0 0",     /* its end is missing */
        "1 0 4 127.0.0.1 80 0 -1 0 0 0 ",   /* slots, */
        "1 0 4 127.0.0.1 80 0 1024 0 0 0 ", /* beyond the last, */
        "1 0 4 127.0.0.1 80 0 2 0 1 0 ",    /* and of one that is for all */
        "1 0 4 127.0.0.1 70000 0 0 0 0 0 ", /* ports */
        "1 0 4 127.0.0.1 0 1 0 70000 0 0 ", /* */
        "1 0 4 nowhere 80 0 0 0 0 0 ",      /* addresses */
        "1 0 6 127.0.0.1 80 0 0 0 0 0 ",    /* */
        "4 0 4 127.0.0.1 80 0 0 0 0 0 ",    /* kinds that are no sockets */
        "9 0 4 127.0.0.1 80 0 0 0 0 0 ",    /* */
        "2 0 0 - 0 0 0 0 1 1 ",             /* a path */
        "99999999999999999999 0 0 - 0 0 0 0 1 0 x",
    };
    char text[LEASE_TEXT];
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        int rc = lease_restore(0, wrong[i]);
        cr_assert_lt(rc, 0, "%s", wrong[i]);
    }
    snprintf(text, sizeof(text), "2 0 0 - 0 0 0 0 1 0 /%0300d", 1);
    cr_assert_lt(lease_restore(0, text), 0);
    lease_place place = {0};
    cr_assert_eq(lease_next(&place, text), LINKS_NOT_FOUND);

    /* Twice the same. */
    int fd = dup(0);
    cr_assert_eq(lease_restore(fd, "1 0 4 127.0.0.1 80 0 0 0 0 0 "), 0);
    cr_assert_lt(lease_restore(0, "1 0 4 127.0.0.1 80 0 0 0 0 0 "), 0);
    links_cluster_close();
    cr_assert(is_open(0) && !is_open(fd));
}

Test(inherited, is_taken_by_address_once_and_by_name_in_order)
{
    address at;
    const char *name;
    int nth, fds[3];
    cr_assert_eq(address_parse(&at, "127.0.0.1", 0), 0);
    for (int i = 0; i < 3; i++) {
        listener_options options = {0};
        fds[i] = listener_bind(&at, &options);
        cr_assert_geq(fds[i], 0);
        cr_assert_eq(inherited_add(fds[i], i < 2 ? "web" : "", 0), 0);
    }
    cr_assert_eq(inherited_at(SOCK_STREAM, &at), LINKS_NOT_FOUND, "port 0 is no address");
    at.port = (uint16_t)port_of(fds[2]);
    cr_assert_eq(inherited_at(SOCK_DGRAM, &at), LINKS_NOT_FOUND);
    cr_assert_eq(inherited_at(SOCK_STREAM, &at), fds[2]);
    cr_assert_eq(inherited_at(SOCK_STREAM, &at), LINKS_NOT_FOUND);
    cr_assert_eq(inherited_name(SOCK_DGRAM, "web", 3), -EPROTOTYPE);
    cr_assert_eq(inherited_name(SOCK_STREAM, "web:3", 5), LINKS_NOT_FOUND);
    cr_assert_eq(inherited_name(SOCK_STREAM, "web:", 4), LINKS_NOT_FOUND);
    cr_assert_eq(inherited_name(SOCK_STREAM, "web", 3), fds[0]);
    cr_assert_eq(inherited_left(0, &name, &nth), fds[1]);
    cr_assert_str_eq(name, "web");
    cr_assert_eq(nth, 2);
    cr_assert_eq(inherited_left(1, &name, &nth), LINKS_NOT_FOUND);
    close(fds[0]);
    close(fds[2]);
    inherited_close();
    cr_assert(!is_open(fds[1]));
}
