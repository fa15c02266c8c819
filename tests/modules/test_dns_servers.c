#include "modules/dns/servers.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "base/err.h"

static server_lists lists;

static void setup(void) { servers_init(&lists); }

static void teardown(void) { servers_deinit(&lists); }

TestSuite(dns_servers, .init = setup, .fini = teardown);

static servers *get(const char *text)
{
    servers *s = NULL;
    cr_assert_eq(servers_parse(&lists, text, &s), 0, "%s", text);
    return s;
}

Test(dns_servers, reads_addresses_with_and_without_a_port)
{
    cr_assert_str_eq(get("192.0.2.1,192.0.2.2:5353,::1,[::2],[::3]:54")->text,
                     "192.0.2.1:53,192.0.2.2:5353,[::1]:53,[::2]:53,[::3]:54");
}

Test(dns_servers, refuses_what_is_no_list)
{
    static const char *const bad[] = {
        "",     ",",      "a",  "1.2.3.4:", "1.2.3.4:0",      "1.2.3.4:65536", "1.2.3.4:x",
        "[::1", "[::1]x", "[]", "1.2.3.4,", "[1.2.3.4]:53:1", "::1]:53",       "1.2.3.4:-1"};
    servers *s;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_assert_eq(servers_parse(&lists, bad[i], &s), -EINVAL, "%s", bad[i]);
    cr_assert_eq(servers_parse(&lists, "::1,::1,::1,::1,::1,::1,::1,::1,::1", &s), -E2BIG);
    cr_assert_eq(lists.count, 0);
}

Test(dns_servers, gives_the_same_list_the_same_number)
{
    servers *one = get("192.0.2.1"), *two = get("192.0.2.2");
    cr_assert_neq(one->id, two->id);
    cr_assert_eq(get("192.0.2.1:53"), one);
    cr_assert_eq(servers_find(&lists, two->id), two);
    cr_assert_null(servers_find(&lists, 99));
}

Test(dns_servers, forgets_the_longest_unused_list_and_none_in_use)
{
    char text[32];
    servers *s, *first = get("192.0.2.1");
    first->users = 1;
    for (int i = 0; i < SERVERS_MAX_LISTS + 10; i++) {
        snprintf(text, sizeof(text), "10.0.%d.%d", i / 256, i % 256);
        get(text);
    }
    cr_assert_eq(lists.count, SERVERS_MAX_LISTS);
    cr_assert_eq(servers_find(&lists, first->id), first);
    LIST_EACH (node, &lists.used)
        CONTAINER_OF(node, servers, link)->users = 1;
    cr_assert_eq(servers_parse(&lists, "192.0.2.9", &s), LINKS_FULL);
}

Test(dns_servers, puts_those_that_did_not_answer_last_for_a_while)
{
    uint8_t order[SERVERS_MAX];
    servers *s = get("192.0.2.1,192.0.2.2,192.0.2.3");
    s->bad_until_ms[0] = 1000;
    servers_order(s, 999, order);
    cr_assert(order[0] == 1 && order[1] == 2 && order[2] == 0);
    servers_order(s, 1000, order);
    cr_assert(order[0] == 0 && order[1] == 1 && order[2] == 2);
}

Test(dns_servers, lets_them_take_turns_where_they_are_to)
{
    uint8_t order[SERVERS_MAX];
    servers *s = get("192.0.2.1,192.0.2.2,192.0.2.3");
    s->rotate = true;
    for (int i = 0; i < 7; i++) {
        servers_order(s, 0, order);
        cr_assert_eq(order[0], i % 3);
        cr_assert_eq(order[1], (i + 1) % 3);
    }
}
