#include "modules/zlib/zstream.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lua/vm.h"
#include "modules/work.h"

static ev_loop *loop;
static char *big;
enum { BIG = 3000000 };

static void setup(void)
{
    loop = ev_loop_new();
    cr_assert_eq(vm_open(loop), 0);
    big = malloc(BIG);
    for (unsigned i = 0, x = 1; i < BIG; i++, x = x * 69069 + 1)
        big[i] = (char)(x >> 24);
}

static void teardown(void)
{
    vm_close();
    work_close();
    ev_loop_free(loop);
    free(big);
}

TestSuite(zstream, .init = setup, .fini = teardown, .timeout = 120);

Test(zstream, does_small_pieces_at_once)
{
    links_zlib *z = links_zlib_new(LINKS_ZLIB_GZIP, 6, 0);
    links_zlib *u = links_zlib_new(LINKS_ZLIB_AUTO, -1, 100);
    cr_assert_eq(links_zlib_feed(z, "hello", 5, LINKS_ZLIB_FINISH), 0);
    cr_assert_eq(links_zlib_result(z), 0);
    cr_assert_eq(links_zlib_feed(u, z->data, z->len, LINKS_ZLIB_FINISH), 0);
    cr_assert_eq(links_zlib_result(u), 0);
    cr_assert_eq(u->len, 5u);
    cr_assert_eq(memcmp(u->data, "hello", 5), 0);
    cr_assert_eq(links_zlib_feed(z, "x", 1, LINKS_ZLIB_MORE), LINKS_CLOSED);
    cr_assert_eq(ev_refs(loop), 0, "no thread was asked");
    links_zlib_free(z);
    links_zlib_free(u);
}

Test(zstream, hands_large_pieces_to_a_thread)
{
    links_zlib *z = links_zlib_new(LINKS_ZLIB_ZLIB, 1, 0);
    cr_assert_eq(links_zlib_feed(z, big, BIG, LINKS_ZLIB_FINISH), 0);
    cr_assert_eq(links_zlib_feed(z, big, 1, LINKS_ZLIB_MORE), -EBUSY);
    while (ev_refs(loop))
        ev_loop_turn(loop, 1000);
    cr_assert_eq(links_zlib_result(z), 0);
    cr_assert_eq(z->total_in, BIG);
    cr_assert_eq(z->total_out, (double)z->len);
    links_zlib_free(z);
}

Test(zstream, goes_on_with_a_bomb_elsewhere_and_stops_at_the_limit)
{
    links_zlib *z = links_zlib_new(LINKS_ZLIB_RAW, 9, 0);
    links_zlib *u = links_zlib_new(LINKS_ZLIB_RAW, -1, 10000000);
    memset(big, 0, BIG);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(links_zlib_feed(z, big, BIG, LINKS_ZLIB_FLUSH), 0);
        while (ev_refs(loop))
            ev_loop_turn(loop, 1000);
        cr_assert_eq(links_zlib_result(z), 0);
        cr_assert_lt(z->len, 65536u);
        cr_assert_eq(links_zlib_feed(u, z->data, z->len, LINKS_ZLIB_MORE), 0);
        while (ev_refs(loop))
            ev_loop_turn(loop, 1000);
        cr_assert_eq(links_zlib_result(u), i < 3 ? 0 : LINKS_TOO_LARGE);
        if (i == 3)
            break;
        cr_assert_eq(u->len, (size_t)BIG);
    }
    cr_assert_lt(u->total_out, 2.1e7, "not much more than allowed has been made");
    links_zlib_free(z);
    links_zlib_free(u);
}

Test(zstream, may_be_let_go_while_a_thread_is_at_it)
{
    links_zlib *z = links_zlib_new(LINKS_ZLIB_GZIP, 9, 0);
    cr_assert_eq(links_zlib_feed(z, big, BIG, LINKS_ZLIB_MORE), 0);
    links_zlib_free(z);
    while (ev_refs(loop))
        ev_loop_turn(loop, 1000);
}

Test(zstream, refuses_damage)
{
    links_zlib *u = links_zlib_new(LINKS_ZLIB_GZIP, -1, 100);
    cr_assert_eq(links_zlib_feed(u, "nonsense", 8, LINKS_ZLIB_MORE), 0);
    cr_assert_eq(links_zlib_result(u), LINKS_PARSE);
    cr_assert_eq(links_zlib_feed(u, "x", 1, LINKS_ZLIB_MORE), LINKS_CLOSED);
    links_zlib_free(u);
    cr_assert_null(links_zlib_new(LINKS_ZLIB_GZIP, 11, 0));
}
