#include "modules/net/network.h"

#include <criterion/criterion.h>
#include <errno.h>

static bool has(const char *text, const char *address_text)
{
    network n;
    address a;
    cr_assert_eq(network_parse(&n, text), 0, "%s", text);
    cr_assert_eq(address_parse(&a, address_text, 0), 0, "%s", address_text);
    return network_has(&n, &a);
}

Test(network, is_an_address_or_those_that_begin_like_it)
{
    cr_assert(has("10.0.0.1", "10.0.0.1"));
    cr_assert_not(has("10.0.0.1", "10.0.0.2"));
    cr_assert(has("10.0.0.0/8", "10.255.1.2"));
    cr_assert_not(has("10.0.0.0/8", "11.0.0.0"));
    cr_assert(has("10.1.2.3/8", "10.9.9.9"), "bits beyond the length do not count");
    cr_assert(has("192.168.64.0/18", "192.168.127.255"));
    cr_assert_not(has("192.168.64.0/18", "192.168.128.0"));
    cr_assert(has("0.0.0.0/0", "255.255.255.255"));
    cr_assert_not(has("0.0.0.0/0", "::1"));
    cr_assert(has("2001:db8::/33", "2001:db8:7fff::1"));
    cr_assert_not(has("2001:db8::/33", "2001:db8:8000::1"));
    cr_assert(has("::/0", "::1"));
}

Test(network, takes_an_ipv4_address_for_one_however_it_comes)
{
    cr_assert(has("10.0.0.0/8", "::ffff:10.1.2.3"));
    cr_assert(has("::ffff:10.0.0.0/104", "10.1.2.3"));
    cr_assert_not(has("::ffff:10.0.0.0/104", "11.1.2.3"));
    cr_assert_not(has("::/0", "::ffff:10.1.2.3"));
}

Test(network, refuses_what_is_none)
{
    static const char *const bad[] = {
        "",
        "10.0.0",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/8 ",
        "10.0.0.0/08",
        "::/129",
        "::ffff:10.0.0.0/95",
        "/8",
        "a/8",
        "10.0.0.0/8/8",
        "unix:",
        "10.0.0.0/99999999999",
        "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111/8",
    };
    network n;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        cr_assert_eq(network_parse(&n, bad[i]), -EINVAL, "%s", bad[i]);
}
