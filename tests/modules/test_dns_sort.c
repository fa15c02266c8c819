#include "modules/dns/sort.h"

#include <criterion/criterion.h>
#include <string.h>

/* The examples of RFC 6724, 10.2: what this host has, and how it reaches what. */
static const char *const (*routes)[2]; /* destination, source; NULL ends it */

static bool from_table(const address *to, address *from)
{
    char text[ADDRESS_TEXT_MAX];
    address_format(to, text);
    for (int i = 0; routes[i][0]; i++) {
        if (strcmp(routes[i][0], text) == 0)
            return routes[i][1] && address_parse(from, routes[i][1], 0) == 0;
    }
    return false;
}

/* Sorts the destinations of a table; what comes first. */
static const char *first_of(const char *const table[][2])
{
    address at[SORT_MAX];
    uint8_t order[SORT_MAX];
    int n = 0;
    routes = table;
    for (; table[n][0]; n++)
        cr_assert_eq(address_parse(&at[n], table[n][0], 0), 0);
    sort_addresses(at, n, order, from_table);
    return table[order[0]][0];
}

#define FIRST(...) first_of((const char *const[][2]){__VA_ARGS__, {NULL, NULL}})

Test(dns_sort, avoids_what_cannot_be_reached)
{
    cr_assert_str_eq(FIRST({"2001:db8::1", NULL}, {"192.0.2.1", "192.0.2.9"}), "192.0.2.1");
}

Test(dns_sort, prefers_a_matching_scope)
{
    cr_assert_str_eq(FIRST({"2001:db8:1::1", "2001:db8:1::2"}, {"198.51.100.121", "169.254.13.78"}),
                     "2001:db8:1::1");
    cr_assert_str_eq(FIRST({"2001:db8:1::1", "fe80::1"}, {"198.51.100.121", "198.51.100.117"}),
                     "198.51.100.121");
}

Test(dns_sort, prefers_higher_precedence)
{
    cr_assert_str_eq(FIRST({"10.1.2.3", "10.1.2.4"}, {"2001:db8:1::1", "2001:db8:1::2"}),
                     "2001:db8:1::1");
    cr_assert_str_eq(FIRST({"127.0.0.1", "127.0.0.1"}, {"::1", "::1"}), "::1");
}

Test(dns_sort, prefers_a_smaller_scope)
{
    cr_assert_str_eq(FIRST({"2001:db8:1::1", "2001:db8:1::2"}, {"fe80::1", "fe80::2"}), "fe80::1");
}

Test(dns_sort, prefers_a_matching_label)
{
    cr_assert_str_eq(
        FIRST({"2001:db8:1::1", "2002:c633:6401::2"}, {"2002:c633:6401::1", "2002:c633:6401::2"}),
        "2002:c633:6401::1");
}

Test(dns_sort, prefers_the_longest_common_prefix_in_IPv6_alone)
{
    cr_assert_str_eq(
        FIRST({"2001:db8:3ffe::1", "2001:db8:1::2"}, {"2001:db8:1::1", "2001:db8:1::2"}),
        "2001:db8:1::1");
    cr_assert_str_eq(FIRST({"203.0.113.1", "192.0.2.2"}, {"192.0.2.1", "192.0.2.2"}),
                     "203.0.113.1");
}

Test(dns_sort, leaves_equals_as_they_are)
{
    address at[SORT_MAX];
    uint8_t order[SORT_MAX];
    for (int i = 0; i < SORT_MAX; i++)
        address_parse(&at[i], "192.0.2.1", 0);
    routes = (const char *const[][2]){{"192.0.2.1", "192.0.2.2"}, {NULL, NULL}};
    sort_addresses(at, SORT_MAX, order, from_table);
    for (int i = 0; i < SORT_MAX; i++)
        cr_assert_eq(order[i], i);
}

Test(dns_sort, asks_the_system_for_its_own_address)
{
    address to, from;
    char text[ADDRESS_TEXT_MAX];
    address_parse(&to, "127.0.0.1", 0);
    cr_assert(sort_source_of_system(&to, &from));
    address_format(&from, text);
    cr_assert_str_eq(text, "127.0.0.1");
}
