/* The batches of both kinds of system: that of the BSDs is plain enough to run anywhere. */
#define udp_recv_batch bsd_recv_batch
#define udp_send_batch bsd_send_batch
#define udp_offload    bsd_offload
#include "modules/net/udp_bsd.c"
#undef udp_recv_batch
#undef udp_send_batch
#undef udp_offload

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int udp_recv_batch(int fd, datagram *datagrams, int count);
int udp_send_batch(int fd, const datagram *datagrams, int count);
void udp_offload(int fd);

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

/* --- runs in one piece ------------------------------------------------------------------------ */

enum { RUN = 40, SIZE = 1200, SHORT = 7 };

static char out[RUN + 1][SIZE];
static datagram run[RUN + 1];

/* RUN datagrams of one size and a shorter one. */
static void fill_run(void)
{
    for (int i = 0; i <= RUN; i++) {
        memset(out[i], 'a' + i % 26, SIZE);
        run[i] = (datagram){.data = out[i], .len = i < RUN ? SIZE : SHORT, .name_len = sizeof(at)};
        memcpy(&run[i].name, &at, sizeof(at));
    }
}

static void check_one_by_one(void)
{
    static char in[SIZE + 1];
    for (int i = 0; i <= RUN; i++) {
        size_t len = i < RUN ? SIZE : SHORT;
        cr_assert_eq(recv(to, in, sizeof(in), MSG_DONTWAIT), (ssize_t)len, "datagram %d", i);
        cr_assert_arr_eq(in, out[i], len);
    }
    cr_assert_eq(recv(to, in, sizeof(in), MSG_DONTWAIT), -1);
}

Test(udp_batch, sends_a_run_in_one_piece_that_arrives_cut_up)
{
    fill_run();
    cr_assert_eq(udp_send_batch(from, run, RUN + 1), RUN + 1);
    check_one_by_one();
}

Test(udp_batch, takes_a_run_in_one_piece_and_says_how_it_is_cut_up)
{
    static char in[2][UDP_MAX];
    datagram got[2] = {{.data = in[0], .len = UDP_MAX}, {.data = in[1], .len = UDP_MAX}};
    fill_run();
    udp_offload(to);
    cr_assert_eq(udp_send_batch(from, run, RUN + 1), RUN + 1);
    int n = udp_recv_batch(to, got, 2);
    if (n == 2)
        cr_skip("the system cannot");
    cr_assert_eq(n, 1);
    cr_assert_eq(got[0].segment, SIZE);
    cr_assert_eq(got[0].len, RUN * SIZE + SHORT);
    for (int i = 0; i <= RUN; i++)
        cr_assert_arr_eq(in[0] + i * SIZE, out[i], i < RUN ? SIZE : SHORT);
}

Test(udp_batch, sends_one_by_one_where_the_system_cuts_nothing_up)
{
    int on = 1;
    fill_run();
    /* It has no checksums to compute for the pieces then, and refuses. */
    cr_assert_eq(setsockopt(from, SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on)), 0);
    cr_assert_eq(udp_send_batch(from, run, RUN + 1), RUN + 1);
    check_one_by_one();
}

Test(udp_batch, cuts_up_again_after_an_error_of_another_kind)
{
    static char in[UDP_MAX];
    datagram got = {.data = in, .len = UDP_MAX};
    fill_run();
    for (int i = 0; i <= RUN; i++)
        ((struct sockaddr_in *)(void *)&run[i].name)->sin_port = 0;
    cr_assert_eq(udp_send_batch(from, run, RUN + 1), -EINVAL);
    fill_run();
    udp_offload(to);
    cr_assert_eq(udp_send_batch(from, run, RUN + 1), RUN + 1);
    cr_assert_eq(udp_recv_batch(to, &got, 1), 1);
    cr_assert(got.segment == SIZE || got.segment == 0);
}
