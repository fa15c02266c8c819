#include "modules/net/proxy.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/err.h"

static proxy_header header;

static int parse(const char *text) { return proxy_parse(&header, text, strlen(text)); }

static int parse_bytes(const char *bytes, size_t len) { return proxy_parse(&header, bytes, len); }

static const char *text_of(const address *a)
{
    static char text[ADDRESS_TEXT_MAX];
    address_format(a, text);
    return text;
}

#define V2 "\r\n\r\n\0\r\nQUIT\n"

Test(proxy, reads_version_1_and_leaves_what_follows)
{
    cr_assert_eq(parse("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nGET"), 45);
    cr_assert_str_eq(text_of(&header.source), "192.0.2.1");
    cr_assert_str_eq(text_of(&header.destination), "198.51.100.7");
    cr_assert_eq(header.source.port, 56324);
    cr_assert_eq(header.destination.port, 443);
    cr_assert_eq(parse("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n"), 36);
    cr_assert_str_eq(text_of(&header.source), "2001:db8::1");
    cr_assert_eq(header.destination.port, 65535);
}

Test(proxy, ignores_the_rest_of_an_unknown_line)
{
    cr_assert_eq(parse("PROXY UNKNOWN\r\n"), 15);
    cr_assert_eq(parse("PROXY UNKNOWN what ever\r\n"), 25);
    cr_assert_eq(header.source.family, 0);
}

Test(proxy, waits_for_the_rest)
{
    const char *line = "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n";
    for (size_t len = 0; len < strlen(line); len++)
        cr_assert_eq(parse_bytes(line, len), 0, "%zu bytes", len);
    for (size_t len = 0; len < 16; len++)
        cr_assert_eq(parse_bytes(V2 "\x21\x11\0\x0c", len), 0, "%zu bytes", len);
}

Test(proxy, refuses_what_is_no_header)
{
    const char *bad[] = {
        "GET / HTTP/1.1\r\n",
        "PROXYTCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY \r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n",
        "PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
        "PROXY TCP4 ::1 ::1 1 1\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\rX",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_assert_eq(parse(bad[i]), LINKS_PROTOCOL, "%s", bad[i]);
}

Test(proxy, refuses_a_line_that_is_longer_than_the_specification_allows)
{
    char line[200];
    memset(line, 'x', sizeof(line));
    memcpy(line, "PROXY UNKNOWN ", 14);
    cr_assert_eq(parse_bytes(line, 106), 0);
    cr_assert_eq(parse_bytes(line, 107), LINKS_PROTOCOL);
    memcpy(line + 105, "\r\n", 2);
    cr_assert_eq(parse_bytes(line, sizeof(line)), 107);
    char longer[108];
    memset(longer, 'x', sizeof(longer));
    memcpy(longer, "PROXY UNKNOWN ", 14);
    memcpy(longer + 106, "\r\n", 2);
    for (size_t len = 107; len <= sizeof(longer); len++)
        cr_assert_eq(parse_bytes(longer, len), LINKS_PROTOCOL);
}

Test(proxy, reads_version_2)
{
    cr_assert_eq(parse_bytes(V2 "\x21\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\7\xdc\4\1\xbbhello", 33), 28);
    cr_assert_str_eq(text_of(&header.source), "192.0.2.1");
    cr_assert_eq(header.source.port, 56324);
    cr_assert_str_eq(text_of(&header.destination), "198.51.100.7");
    cr_assert_eq(header.destination.port, 443);
}

Test(proxy, skips_what_version_2_has_beyond_the_addresses)
{
    cr_assert_eq(parse_bytes(V2 "\x21\x11\0\x10\xc0\0\2\1\xc6\x33\x64\7\xdc\4\1\xbb\4\0\1x", 32),
                 32);
    cr_assert_str_eq(text_of(&header.source), "192.0.2.1");
}

Test(proxy, keeps_the_real_address_of_local_and_of_other_families)
{
    cr_assert_eq(parse_bytes(V2 "\x20\0\0\0", 16), 16);
    cr_assert_eq(header.source.family, 0);
    cr_assert_eq(parse_bytes(V2 "\x21\0\0\0", 16), 16);
    cr_assert_eq(header.source.family, 0);
    cr_assert_eq(parse_bytes(V2 "\x21\x12\0\x0c\xc0\0\2\1\xc6\x33\x64\7\xdc\4\1\xbb", 28), 28);
    cr_assert_eq(header.source.family, 0, "a datagram's");
}

Test(proxy, refuses_version_2_that_is_malformed)
{
    cr_assert_eq(parse_bytes(V2 "\x11\x11\0\x0c", 16), LINKS_PROTOCOL, "version 1");
    cr_assert_eq(parse_bytes(V2 "\x22\x11\0\x0c", 16), LINKS_PROTOCOL, "command 2");
    cr_assert_eq(parse_bytes(V2 "\x21\x41\0\x0c", 16), LINKS_PROTOCOL, "family 4");
    cr_assert_eq(parse_bytes(V2 "\x21\x13\0\x0c", 16), LINKS_PROTOCOL, "transport 3");
    cr_assert_eq(parse_bytes(V2 "\x21\x11\xff\xff", 16), LINKS_PROTOCOL, "too long");
    cr_assert_eq(parse_bytes(V2 "\x21\x11\0\4abcd", 20), LINKS_PROTOCOL, "too short");
    cr_assert_eq(parse_bytes("\r\n\r\n\0\r\nQUIX", 12), LINKS_PROTOCOL, "another signature");
}

/* --- writing --------------------------------------------------------------------------------- */

static char out[PROXY_V1_MAX];

static int build(int version, const char *source, int sport, const char *destination, int dport)
{
    proxy_header h = {0};
    if (source) {
        cr_assert_eq(address_parse(&h.source, source, sport), 0);
        cr_assert_eq(address_parse(&h.destination, destination, dport), 0);
    }
    return proxy_build(&h, version, out);
}

Test(proxy, writes_version_1)
{
    int n = build(1, "192.0.2.1", 56324, "198.51.100.7", 443);
    cr_assert_eq(n, 45);
    cr_assert_arr_eq(out, "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", n);
    n = build(1, "2001:db8::1", 0, "::1", 65535);
    cr_assert_arr_eq(out, "PROXY TCP6 2001:db8::1 ::1 0 65535\r\n", n);
    n = build(1, NULL, 0, NULL, 0);
    cr_assert_eq(n, 15);
    cr_assert_arr_eq(out, "PROXY UNKNOWN\r\n", n);
}

Test(proxy, writes_version_2)
{
    int n = build(2, "192.0.2.1", 56324, "198.51.100.7", 443);
    cr_assert_eq(n, 28);
    cr_assert_arr_eq(out, V2 "\x21\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\7\xdc\4\1\xbb", n);
    cr_assert_eq(build(2, "2001:db8::1", 1, "::1", 2), 52);
    n = build(2, NULL, 0, NULL, 0);
    cr_assert_eq(n, 16);
    cr_assert_arr_eq(out, V2 "\x20\0\0\0", n, "LOCAL");
}

Test(proxy, writes_addresses_of_two_families_as_ipv6)
{
    for (int version = 1; version <= 2; version++) {
        int n = build(version, "192.0.2.1", 1, "2001:db8::1", 2);
        cr_assert_eq(parse_bytes(out, (size_t)n), n);
        cr_assert_eq(header.source.family, 6);
        cr_assert_str_eq(text_of(&header.source), "::ffff:192.0.2.1");
        cr_assert_str_eq(text_of(&header.destination), "2001:db8::1");
    }
}

Test(proxy, reads_what_it_writes_at_its_longest)
{
    const char *longest = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255";
    for (int version = 1; version <= 2; version++) {
        int n = build(version, longest, 65535, longest, 65535);
        cr_assert_leq(n, PROXY_V1_MAX);
        cr_assert_eq(parse_bytes(out, (size_t)n), n);
        cr_assert_eq(header.destination.port, 65535);
    }
}
