#include "modules/dns/name.h"

#include <criterion/criterion.h>
#include <string.h>

static int from(uint8_t *wire, const char *text)
{
    return name_from_text(wire, text, strlen(text));
}

Test(dns_name, reads_names_with_and_without_the_last_dot_in_lower_case)
{
    uint8_t wire[NAME_MAX_WIRE];
    cr_assert_eq(from(wire, "A.Test"), 8);
    cr_assert_eq(memcmp(wire, "\1a\4test", 8), 0);
    cr_assert_eq(from(wire, "a.test."), 8);
    cr_assert_eq(memcmp(wire, "\1a\4test", 8), 0);
    cr_assert_eq(from(wire, "."), 1);
    cr_assert_eq(wire[0], 0);
}

Test(dns_name, refuses_what_is_no_name)
{
    static const char *const bad[] = {"",     "..",  "a..b",     ".a", "a b",
                                      "a\nb", "a,b", "\303\251", "a:b"};
    uint8_t wire[NAME_MAX_WIRE];
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_assert_eq(from(wire, bad[i]), -1, "%s", bad[i]);
    cr_assert_eq(name_from_text(wire, "a\0b", 3), -1);
}

Test(dns_name, knows_the_limits_of_labels_and_names)
{
    uint8_t wire[NAME_MAX_WIRE];
    char text[400];

    memset(text, 'a', sizeof(text));
    cr_assert_eq(name_from_text(wire, text, 63), 65);
    cr_assert_eq(name_from_text(wire, text, 64), -1);
    for (int i = 63; i < 400; i += 64)
        text[i] = '.';
    cr_assert_eq(name_from_text(wire, text, 253), 255);
    cr_assert_eq(name_from_text(wire, text, 254), -1);
    cr_assert_eq(name_from_text(wire, text, 255), -1);
    text[253] = '.';
    cr_assert_eq(name_from_text(wire, text, 254), 255);
    for (size_t len = 255; len <= sizeof(text); len++)
        cr_assert_eq(name_from_text(wire, text, len), -1);
}

Test(dns_name, writes_names_with_what_is_not_plain_escaped)
{
    char text[NAME_MAX_TEXT];
    const uint8_t wire[] = "\006a.b\\ \xff\003c\"d";
    cr_assert_eq(name_to_text(text, wire), strlen("a\\.b\\\\\\032\\255.c\"d"));
    cr_assert_str_eq(text, "a\\.b\\\\\\032\\255.c\"d");
    cr_assert_eq(name_to_text(text, (const uint8_t *)""), 0);
    cr_assert_str_eq(text, "");
}

Test(dns_name, has_room_for_the_longest_text)
{
    uint8_t wire[NAME_MAX_WIRE];
    char text[NAME_MAX_TEXT];
    size_t at = 0;
    while (at < 253) {
        uint8_t n = 253 - at > 63 ? 63 : (uint8_t)(253 - at);
        wire[at++] = n;
        memset(wire + at, 0, n);
        at += n;
    }
    wire[at] = 0;
    cr_assert_lt(name_to_text(text, wire), NAME_MAX_TEXT);
}

Test(dns_name, follows_pointers_backwards_only)
{
    /* 0: "test", 6: "A" + pointer to 0, 10: pointer to 6, 12: pointer to itself, 14: to 16 */
    const uint8_t message[] = "\4test\0\1A\300\0\300\6\300\014\300\020\1b";
    uint8_t wire[NAME_MAX_WIRE];
    size_t next;
    cr_assert_eq(name_expand(wire, message, sizeof(message), 10, &next), 8);
    cr_assert_eq(memcmp(wire, "\1a\4test", 8), 0);
    cr_assert_eq(next, 12);
    cr_assert_eq(name_expand(wire, message, sizeof(message), 6, &next), 8);
    cr_assert_eq(next, 10);
    cr_assert_eq(name_expand(wire, message, sizeof(message), 12, &next), -1);
    cr_assert_eq(name_expand(wire, message, sizeof(message), 14, &next), -1);
}

Test(dns_name, refuses_names_that_leave_the_message_or_are_too_long)
{
    uint8_t wire[NAME_MAX_WIRE], message[400];
    size_t next;
    cr_assert_eq(name_expand(wire, (const uint8_t *)"\1a", 2, 0, &next), -1);
    cr_assert_eq(name_expand(wire, (const uint8_t *)"\5a", 2, 0, &next), -1);
    cr_assert_eq(name_expand(wire, (const uint8_t *)"\300", 1, 0, &next), -1);
    cr_assert_eq(name_expand(wire, (const uint8_t *)"\1a\0", 3, 3, &next), -1);
    cr_assert_eq(name_expand(wire, (const uint8_t *)"\100a\0", 3, 0, &next), -1);
    memset(message, 1, sizeof(message)); /* labels of one byte each, without end */
    cr_assert_eq(name_expand(wire, message, sizeof(message), 0, &next), -1);
    message[254] = 0;
    cr_assert_eq(name_expand(wire, message, sizeof(message), 0, &next), 255);
    cr_assert_eq(next, 255);
}

Test(dns_name, tells_what_could_be_a_host)
{
    cr_assert(name_is_host((const uint8_t *)"\3a-1\3b_c"));
    cr_assert_not(name_is_host((const uint8_t *)""));
    cr_assert_not(name_is_host((const uint8_t *)"\2-a"));
    cr_assert_not(name_is_host((const uint8_t *)"\2a;"));
}
