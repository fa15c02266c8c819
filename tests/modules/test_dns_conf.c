#include "modules/dns/conf.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static conf c;

static void parse(const char *text)
{
    unsetenv("LOCALDOMAIN");
    unsetenv("RES_OPTIONS");
    conf_init(&c);
    conf_parse(&c, text, strlen(text));
}

static const char *server(int i)
{
    static char text[ADDRESS_TEXT_MAX];
    address_format(&c.servers[i], text);
    return text;
}

Test(dns_conf, has_the_system_s_defaults)
{
    parse("");
    conf_parse(&c, NULL, 0);
    conf_environment(&c);
    cr_assert_eq(c.public.ndots, 1);
    cr_assert_eq(c.public.timeout_ms, 5000);
    cr_assert_eq(c.public.tries, 2);
    cr_assert_not(c.rotate);
    cr_assert_eq(c.nservers, 1);
    cr_assert_str_eq(server(0), "127.0.0.1");
    cr_assert_eq(c.servers[0].port, 53);
}

Test(dns_conf, takes_three_servers_and_passes_over_what_is_no_address)
{
    parse(
        "nameserver 192.0.2.1\n"
        "nameserver\n"
        "nameserver dns.test\n"
        " nameserver 192.0.2.66\n"
        "nameserver\t::1 # the rest does not matter\r\n"
        "nameserver 192.0.2.3\n"
        "nameserver 192.0.2.4");
    cr_assert_eq(c.nservers, 3);
    cr_assert_str_eq(server(0), "192.0.2.1");
    cr_assert_str_eq(server(1), "::1");
    cr_assert_str_eq(server(2), "192.0.2.3");
}

Test(dns_conf, lets_the_last_of_search_and_domain_win)
{
    parse("domain one.test\nsearch a.test\tB.test. c..d\n");
    cr_assert_eq(c.public.nsearch, 2);
    cr_assert_str_eq(c.search[0], "a.test");
    cr_assert_str_eq(c.search[1], "B.test");
    parse("search a.test b.test\ndomain one.test two.test\n");
    cr_assert_eq(c.public.nsearch, 1);
    cr_assert_str_eq(c.search[0], "one.test");
    parse("search .\n");
    cr_assert_eq(c.public.nsearch, 0);
}

Test(dns_conf, keeps_the_options_within_their_limits)
{
    parse("options ndots:3 timeout:7 attempts:4 rotate unknown edns0\noptions ndots:2\n");
    cr_assert_eq(c.public.ndots, 2);
    cr_assert_eq(c.public.timeout_ms, 7000);
    cr_assert_eq(c.public.tries, 4);
    cr_assert(c.rotate);
    parse("options ndots:99999999999999999999 timeout:99999999999 attempts:999\n");
    cr_assert_eq(c.public.ndots, 15);
    cr_assert_eq(c.public.timeout_ms, 30000);
    cr_assert_eq(c.public.tries, 5);
    parse("options ndots:0 timeout:0 attempts:0 ndots: timeout:x\n");
    cr_assert_eq(c.public.ndots, 0);
    cr_assert_eq(c.public.timeout_ms, 1000);
    cr_assert_eq(c.public.tries, 1);
}

Test(dns_conf, passes_over_comments)
{
    parse("# nameserver 192.0.2.1\n; search a.test\n#\n;\n\n");
    cr_assert_eq(c.nservers, 0);
}

Test(dns_conf, lets_the_environment_have_the_last_word)
{
    parse("search a.test\noptions ndots:2 timeout:7\n");
    setenv("LOCALDOMAIN", "x.test y.test", 1);
    setenv("RES_OPTIONS", "ndots:4", 1);
    conf_environment(&c);
    cr_assert_eq(c.public.nsearch, 2);
    cr_assert_str_eq(c.search[1], "y.test");
    cr_assert_eq(c.public.ndots, 4);
    cr_assert_eq(c.public.timeout_ms, 7000);
}

Test(dns_conf, takes_no_more_than_32_domains)
{
    char text[1000] = "search";
    for (int i = 0; i < 100; i++)
        strcat(text, " a.test");
    parse(text);
    cr_assert_eq(c.public.nsearch, CONF_MAX_SEARCH);
}
