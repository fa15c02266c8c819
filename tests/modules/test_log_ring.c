#define _GNU_SOURCE
#include "modules/log/ring.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static ring r;

static void setup(void) { ring_init(&r, 64); }
static void teardown(void) { ring_deinit(&r); }

TestSuite(log_ring, .init = setup, .fini = teardown, .timeout = 120);

/* All that is there, as a string. */
static const char *content(void)
{
    static char text[128];
    struct iovec iov[2];
    size_t len = ring_peek(&r, iov);
    memcpy(text, iov[0].iov_base, iov[0].iov_len);
    memcpy(text + iov[0].iov_len, iov[1].iov_base, iov[1].iov_len);
    text[len] = 0;
    return text;
}

Test(log_ring, rounds_its_size_up_to_a_power_of_two)
{
    ring big;
    ring_init(&big, 65);
    cr_assert_eq(big.size, 128);
    ring_deinit(&big);
}

Test(log_ring, gives_back_what_was_put_in_two_pieces)
{
    cr_assert(ring_put(&r, "ab", 2, "cd", 2));
    cr_assert(ring_put(&r, "e", 1, NULL, 0));
    cr_assert_str_eq(content(), "abcde");
    ring_skip(&r, 2);
    cr_assert_str_eq(content(), "cde");
}

Test(log_ring, refuses_as_a_whole_what_does_not_fit)
{
    char most[64];
    memset(most, 'x', sizeof(most));
    cr_assert(ring_put(&r, most, 60, NULL, 0));
    cr_assert_not(ring_put(&r, "12", 2, "345", 3));
    cr_assert_eq(ring_used(&r), 60);
    cr_assert(ring_put(&r, "1234", 4, NULL, 0));
    ring_skip(&r, 1);
    cr_assert(ring_put(&r, "5", 1, NULL, 0));
    cr_assert_not(ring_put(&r, most, 65, NULL, 0));
}

Test(log_ring, goes_round_its_end_at_every_place)
{
    for (int i = 0; i < 300; i++) {
        cr_assert(ring_put(&r, "0123456789abcdef", 16, "ghi\n", 4));
        char middle[8];
        ring_copy(&r, 14, middle, 4);
        cr_assert_eq(memcmp(middle, "efgh", 4), 0);
        cr_assert_str_eq(content(), "0123456789abcdefghi\n");
        ring_skip(&r, 20);
        ring_put(&r, "x", 1, NULL, 0);
        ring_skip(&r, 1);
    }
}

/* Room for some more than the other tests need: each time it is full, or empty, one of the threads
 * has to be given a processor. */
enum { LINES = 200000, ROOM = 1024 };

static void *taker(void *arg)
{
    (void)arg;
    unsigned expected = 0;
    while (expected < LINES) {
        unsigned n;
        if (ring_used(&r) < sizeof(n)) {
            usleep(1);
            continue;
        }
        ring_copy(&r, 0, &n, sizeof(n));
        if (n != expected)
            return "out of order";
        expected++;
        ring_skip(&r, sizeof(n));
    }
    return NULL;
}

Test(log_ring, hands_everything_in_order_to_another_thread)
{
    pthread_t thread;
    void *fault;
    ring_deinit(&r);
    ring_init(&r, ROOM);
    pthread_create(&thread, NULL, taker, NULL);
    for (unsigned n = 0; n < LINES; n++)
        while (!ring_put(&r, &n, 1, (char *)&n + 1, sizeof(n) - 1))
            usleep(1);
    pthread_join(thread, &fault);
    cr_assert_null(fault);
}
