#include "base/resp.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static const resp_limits limits = {.size = 1000, .elements = 20, .depth = 4};

/* Scans in a block of exactly its size, so that ASan sees one byte too many. */
static ptrdiff_t scan(const char *text, size_t len, const char **fault)
{
    resp_scan s;
    char *copy = malloc(len ? len : 1);
    memcpy(copy, text, len);
    resp_scan_init(&s, &limits);
    ptrdiff_t rc = resp_scan_run(&s, copy, len);
    if (fault)
        *fault = s.fault;
    free(copy);
    return rc;
}

static const char *const sound[] = {
    "+OK\r\n",
    "+\r\n",
    "-ERR no\r\n",
    ":0\r\n",
    ":+5\r\n",
    ":-9223372036854775808\r\n",
    ":9223372036854775807\r\n",
    "$0\r\n\r\n",
    "$5\r\na\r\nb\n\r\n",
    "$-1\r\n",
    "*-1\r\n",
    "*0\r\n",
    "*2\r\n*1\r\n:1\r\n*0\r\n",
    "*2\r\n$-1\r\n*-1\r\n",
    "_\r\n",
    "#t\r\n",
    "#f\r\n",
    ",1\r\n",
    ",-1.5e-10\r\n",
    ",inf\r\n",
    ",-inf\r\n",
    ",nan\r\n",
    "(-123456789012345678901234567890\r\n",
    "!3\r\nERR\r\n",
    "=6\r\ntxt:hi\r\n",
    "%1\r\n+a\r\n%1\r\n+b\r\n:1\r\n",
    "%0\r\n",
    "~2\r\n:1\r\n:2\r\n",
    ">2\r\n+invalidate\r\n*0\r\n",
    "|1\r\n+ttl\r\n:1\r\n:5\r\n",
    "*2\r\n|1\r\n+a\r\n*1\r\n:1\r\n:1\r\n|0\r\n:2\r\n",
};

Test(resp, finds_the_end_of_a_reply)
{
    for (size_t i = 0; i < sizeof(sound) / sizeof(*sound); i++)
        cr_assert_eq(scan(sound[i], strlen(sound[i]), NULL), (ptrdiff_t)strlen(sound[i]), "%s",
                     sound[i]);
}

Test(resp, finds_it_wherever_the_bytes_were_cut)
{
    for (size_t i = 0; i < sizeof(sound) / sizeof(*sound); i++) {
        size_t len = strlen(sound[i]);
        for (size_t cut = 0; cut < len; cut++) {
            resp_scan s;
            resp_scan_init(&s, &limits);
            cr_assert_eq(resp_scan_run(&s, sound[i], cut), 0, "%s at %zu", sound[i], cut);
            cr_assert_eq(resp_scan_run(&s, sound[i], len), (ptrdiff_t)len, "%s at %zu", sound[i],
                         cut);
        }
    }
}

Test(resp, finds_it_when_the_bytes_come_one_by_one)
{
    resp_scan s;
    resp_scan_init(&s, &limits);
    for (size_t i = 0; i < sizeof(sound) / sizeof(*sound); i++) {
        size_t len = strlen(sound[i]);
        for (size_t n = 0; n < len; n++)
            cr_assert_eq(resp_scan_run(&s, sound[i], n), 0, "%s at %zu", sound[i], n);
        /* What comes behind belongs to the next reply. */
        char *more = malloc(len + 3);
        memcpy(more, sound[i], len);
        memcpy(more + len, "+OK", 3);
        cr_assert_eq(resp_scan_run(&s, more, len + 3), (ptrdiff_t)len, "%s", sound[i]);
        free(more);
    }
}

Test(resp, refuses_what_is_no_reply)
{
    static const char *const bad[] = {
        "HTTP/1.1 400",
        "\r\n",
        "x",
        "+a\nb\r\n",
        "+a\rb",
        ":\r\n",
        ":1x\r\n",
        ":-\r\n",
        ":1.5\r\n",
        ":9223372036854775808\r\n",
        ":-9223372036854775809\r\n",
        "$\r\n",
        "$-2\r\n",
        "$+1\r\n",
        "$1x\r\n",
        "$?\r\n",
        "$9999999999999999999\r\n",
        "$1\r\nabc",
        "$1\r\na\rc",
        "*-2\r\n",
        "*?\r\n",
        "* 1\r\n",
        "%-1\r\n",
        "~-1\r\n",
        "_x\r\n",
        "#\r\n",
        "#x\r\n",
        "#true\r\n",
        ",\r\n",
        ",.5\r\n",
        ",1e\r\n",
        ",0x10\r\n",
        ",infinity\r\n",
        "(\r\n",
        "(1.5\r\n",
        "=3\r\nabc\r\n",
        "=4\r\ntxtx\r\n",
        "!-1\r\n",
        "*1\r\n>1\r\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        const char *fault = NULL;
        cr_assert_eq(scan(bad[i], strlen(bad[i]), &fault), LINKS_PROTOCOL, "%s", bad[i]);
        cr_assert_not_null(fault);
    }
}

Test(resp, refuses_what_is_too_large_as_soon_as_it_is_announced)
{
    static const char *const large[] = {
        "$1001\r\n", "$995\r\n",        "$999999999999999999\r\n", "*21\r\n",
        "%11\r\n",   "*4294967297\r\n", "*2\r\n*19\r\n",           "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
    };
    for (size_t i = 0; i < sizeof(large) / sizeof(*large); i++) {
        const char *fault = NULL;
        cr_assert_eq(scan(large[i], strlen(large[i]), &fault), LINKS_TOO_LARGE, "%s", large[i]);
        cr_assert_not_null(fault);
    }
}

/* Each adds nothing that is counted, but bytes. */
Test(resp, bounds_attributes_and_lines_by_the_size_of_a_reply)
{
    char text[2000];
    for (size_t i = 0; i + 4 <= sizeof(text); i += 4)
        memcpy(text + i, "|0\r\n", 4);
    cr_assert_eq(scan(text, sizeof(text), NULL), LINKS_TOO_LARGE);
    memset(text, 'x', sizeof(text));
    text[0] = '+';
    cr_assert_eq(scan(text, sizeof(text), NULL), LINKS_TOO_LARGE);
}

Test(resp, begins_anew_with_each_reply)
{
    resp_scan s;
    resp_scan_init(&s, &limits);
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(resp_scan_run(&s, "*4\r\n:1\r\n:2\r\n*1\r\n:3\r\n:4\r\n", 24), 24);
        cr_assert_eq(s.elements, 0);
    }
}

Test(resp, reads_the_integers_that_it_has_scanned)
{
    static const struct {
        const char *text;
        int64_t n;
    } cases[] = {{"0\r\n", 0},
                 {"+7\r\n", 7},
                 {"-1\r\n", -1},
                 {"9223372036854775807\r\n", INT64_MAX},
                 {"-9223372036854775808\r\n", INT64_MIN}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *at = cases[i].text;
        cr_assert_eq(resp_integer(resp_take_line(&at)), cases[i].n);
        cr_assert_eq(*at, 0);
    }
}
