/* The batches of both kinds of system: that of the BSDs is plain enough to run anywhere. */
#define udp_recv_batch bsd_recv_batch
#define udp_send_batch bsd_send_batch
#include "modules/net/udp_bsd.c"
#undef udp_recv_batch
#undef udp_send_batch

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int udp_recv_batch(int fd, datagram *datagrams, int count);
int udp_send_batch(int fd, const datagram *datagrams, int count);

static int from, to;
static struct sockaddr_in at;

static int open_socket(void)
{
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&local, sizeof(local)), 0);
    return fd;
}

static void setup(void)
{
    socklen_t len = sizeof(at);
    from = open_socket();
    to = open_socket();
    getsockname(to, (struct sockaddr *)&at, &len);
}

static void teardown(void)
{
    close(from);
    close(to);
}

TestSuite(udp_batch, .init = setup, .fini = teardown);

typedef int send_batch(int fd, const datagram *datagrams, int count);
typedef int recv_batch(int fd, datagram *datagrams, int count);

static void check(send_batch *send_all, recv_batch *recv_all)
{
    static char bytes[UDP_RECV_BATCH][64];
    static datagram batch[UDP_RECV_BATCH];

    cr_assert_eq(recv_all(to, batch, UDP_RECV_BATCH), -EAGAIN);
    for (int i = 0; i < UDP_RECV_BATCH; i++) {
        batch[i].data = bytes[i];
        batch[i].len = (size_t)sprintf(bytes[i], "datagram %d", i);
        memcpy(&batch[i].name, &at, sizeof(at));
        batch[i].name_len = sizeof(at);
    }
    cr_assert_eq(send_all(from, batch, 5), 5);
    memset(bytes, 0, sizeof(bytes));
    for (int i = 0; i < UDP_RECV_BATCH; i++)
        batch[i].len = sizeof(bytes[i]);
    cr_assert_eq(recv_all(to, batch, 2), 2);
    cr_assert_str_eq(bytes[1], "datagram 1");
    cr_assert_eq(batch[1].len, strlen("datagram 1"));
    cr_assert_eq(batch[1].name_len, sizeof(at));
    batch[0].len = sizeof(bytes[0]);
    cr_assert_eq(recv_all(to, batch, UDP_RECV_BATCH), 3);
    cr_assert_str_eq(bytes[2], "datagram 4");
}

static void check_errors(send_batch *send_all)
{
    static char big[70000];
    datagram batch[2] = {{.data = big, .len = 1, .name_len = sizeof(at)},
                         {.data = big, .len = sizeof(big), .name_len = sizeof(at)}};
    memcpy(&batch[0].name, &at, sizeof(at));
    memcpy(&batch[1].name, &at, sizeof(at));
    cr_assert_eq(send_all(from, batch, 2), 1);
    cr_assert_eq(send_all(from, batch + 1, 1), -EMSGSIZE);
    batch[0].name_len = 0;
    cr_assert_eq(send_all(from, batch, 1), -EDESTADDRREQ);
}

Test(udp_batch, moves_several_datagrams_at_a_time)
{
    check(udp_send_batch, udp_recv_batch);
    check_errors(udp_send_batch);
}

Test(udp_batch, moves_them_one_by_one_where_the_system_cannot)
{
    check(bsd_send_batch, bsd_recv_batch);
    check_errors(bsd_send_batch);
}
