#include "modules/dns/hosts.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static hosts h;
static char found[4096];

static void parse(const char *text)
{
    hosts_deinit(&h);
    hosts_parse(&h, text, strlen(text));
}

static const char *names_in(answer *a)
{
    found[0] = '\0';
    answer_finish(a);
    for (int i = 0; i < a->public.count; i++) {
        if (i)
            strcat(found, " ");
        strncat(found, a->public.records[i].text[0], a->public.records[i].len[0]);
    }
    answer_unref(a);
    return found;
}

static const char *find(const char *name, int family)
{
    uint8_t wire[NAME_MAX_WIRE];
    answer *a = answer_new(0);
    cr_assert_gt(name_from_text(wire, name, strlen(name)), 0);
    hosts_find(&h, wire, family, a);
    return names_in(a);
}

static void teardown(void) { hosts_deinit(&h); }

TestSuite(dns_hosts, .fini = teardown);

Test(dns_hosts, finds_all_lines_of_a_name_in_their_order)
{
    parse(
        "192.0.2.1 a.test b\n"
        "2001:db8::1\tA.TEST\r\n"
        "192.0.2.2 c a.test.\n"
        "192.0.2.1 a.test");
    cr_assert_str_eq(find("a.test", 0), "192.0.2.1 2001:db8::1 192.0.2.2");
    cr_assert_str_eq(find("a.test", 4), "192.0.2.1 192.0.2.2");
    cr_assert_str_eq(find("a.test", 6), "2001:db8::1");
    cr_assert_str_eq(find("c", 4), "192.0.2.2");
    cr_assert_str_eq(find("test", 0), "");
}

Test(dns_hosts, passes_over_lines_without_address_or_name)
{
    parse("# 192.0.2.1 a\n\n192.0.2.1\nx a\n192.0.2.1.1 a\n192.0.2.2 # a\n192.0.2.3 a..b a\n");
    cr_assert_str_eq(find("a", 0), "192.0.2.3");
}

Test(dns_hosts, takes_loopback_and_mapped_addresses_for_what_they_are_in_IPv4)
{
    parse("::1 six\n::ffff:192.0.2.1 mapped\n");
    cr_assert_str_eq(find("six", 4), "127.0.0.1");
    cr_assert_str_eq(find("six", 0), "::1");
    cr_assert_str_eq(find("mapped", 4), "192.0.2.1");
}

Test(dns_hosts, returns_no_more_than_64_addresses_of_a_name)
{
    char text[4096] = "";
    for (int i = 0; i < 100; i++)
        sprintf(text + strlen(text), "192.0.2.%d a\n", i);
    parse(text);
    find("a", 0);
    int n = 1;
    for (const char *p = found; *p; p++)
        n += *p == ' ';
    cr_assert_eq(n, HOSTS_MAX_ADDRESSES);
}

Test(dns_hosts, finds_the_names_of_an_address)
{
    const uint8_t ip[16] = {192, 0, 2, 1};
    parse("192.0.2.1 a.test B\n192.0.2.2 c\n192.0.2.1 d\n");
    answer *a = answer_new(0);
    hosts_find_names(&h, 4, ip, a);
    cr_assert_str_eq(names_in(a), "a.test b d");
}

Test(dns_hosts, finds_nothing_in_an_empty_table)
{
    cr_assert_str_eq(find("a", 0), "");
    parse("");
    cr_assert_str_eq(find("a", 0), "");
    hosts_parse(&h, NULL, 0);
    cr_assert_str_eq(find("a", 0), "");
}
