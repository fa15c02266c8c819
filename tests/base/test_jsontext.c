#include "base/jsontext.h"

#include <criterion/criterion.h>
#include <stdlib.h>

Test(jsontext, finds_a_special_byte_wherever_it_stands)
{
    char text[40], out[JSONTEXT_ESCAPED_MAX * 40];
    for (size_t len = 0; len < 33; len++) {
        for (size_t at = 0; at < len; at++) {
            for (int c = 0; c < 256; c++) {
                memset(text, 'x', sizeof(text));
                text[at] = (char)c;
                bool plain = c >= 0x20 && c != '"' && c != '\\';
                cr_assert_eq(jsontext_skip_plain(text, text + len), text + (plain ? len : at));
                cr_assert_eq(jsontext_escape(out, text, len) == out + len, plain);
                cr_assert(!plain || memcmp(out, text, len) == 0);
            }
        }
    }
}

Test(jsontext, escapes_as_short_as_it_can)
{
    static const char expected[] = "a\\\"\\\\\\b\\f\\n\\r\\t\\u0001\\u001f/";
    char out[64];
    char *end = jsontext_escape(out, "a\"\\\b\f\n\r\t\x01\x1f/", 11);
    cr_assert_eq(end - out, sizeof(expected) - 1);
    cr_assert_eq(memcmp(out, expected, sizeof(expected) - 1), 0);
}

/* In blocks of exactly their sizes, so that ASan sees one byte too many. */
Test(jsontext, needs_no_more_room_than_it_says)
{
    for (size_t len = 1; len < 40; len++) {
        char *text = malloc(len), *out = malloc(JSONTEXT_ESCAPED_MAX * len);
        memset(text, 1, len);
        cr_assert_eq(jsontext_escape(out, text, len), out + JSONTEXT_ESCAPED_MAX * len);
        memset(text, 'x', len);
        cr_assert_eq(jsontext_escape(out, text, len), out + len);
        free(text);
        free(out);
    }
}
