#include "modules/http/fields.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static const char *ranges(const char *value, int64_t size)
{
    static char text[512];
    http_range r[HTTP_RANGES_MAX];
    int n = http_ranges(value, strlen(value), size, r);
    if (n == HTTP_RANGES_IGNORE)
        return "ignore";
    if (n == HTTP_RANGES_NONE)
        return "none";
    text[0] = '\0';
    for (int i = 0; i < n; i++)
        sprintf(text + strlen(text), "%s%d-%d", i ? "," : "", (int)r[i].from, (int)r[i].to);
    return text;
}

Test(fields, reads_ranges_that_lie_within)
{
    cr_assert_str_eq(ranges("bytes=0-0", 100), "0-0");
    cr_assert_str_eq(ranges("bytes=0-99", 100), "0-99");
    cr_assert_str_eq(ranges("bytes=10-", 100), "10-99");
    cr_assert_str_eq(ranges("bytes=-10", 100), "90-99");
    cr_assert_str_eq(ranges("bytes=-1000", 100), "0-99");
    cr_assert_str_eq(ranges("bytes=50-1000", 100), "50-99");
    cr_assert_str_eq(ranges("Bytes=0-1", 100), "0-1");
    cr_assert_str_eq(ranges("bytes= 0-1 ,\t5-6 , ", 100), "0-1,5-6");
    cr_assert_str_eq(ranges("bytes=0-1,200-300,5-6", 100), "0-1,5-6");
    cr_assert_str_eq(ranges("bytes=5-6,0-1", 100), "5-6,0-1");
    cr_assert_str_eq(ranges("bytes=0-99999999999999999999999", 100), "0-99");
}

Test(fields, says_when_no_range_lies_within)
{
    cr_assert_str_eq(ranges("bytes=100-", 100), "none");
    cr_assert_str_eq(ranges("bytes=100-200,300-", 100), "none");
    cr_assert_str_eq(ranges("bytes=-0", 100), "none");
    cr_assert_str_eq(ranges("bytes=0-", 0), "none");
    cr_assert_str_eq(ranges("bytes=-5", 0), "none");
    cr_assert_str_eq(ranges("bytes=99999999999999999999-", 100), "none");
}

Test(fields, ignores_ranges_that_are_malformed_or_too_many)
{
    static const char *const bad[] = {
        "",          "bytes",      "bytes=",      "bytes=-",     "bytes=a-b",  "bytes=1",
        "bytes=2-1", "bytes=1-2x", "bytes=1 - 2", "items=0-1",   "bytes=0-1;", "bytes=0-1 2-3",
        "bytes=--1", "bytes=+1-2", "bytes =0-1",  "bytes=0x1-2", "bytes=,",    "bytes=0-1,x",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_assert_str_eq(ranges(bad[i], 100), "ignore", "%s", bad[i]);
    cr_assert_str_eq(ranges("bytes=0-59,30-99", 100), "ignore", "more than the whole");
    char many[200] = "bytes=";
    for (int i = 0; i <= HTTP_RANGES_MAX; i++)
        sprintf(many + strlen(many), "%d-%d,", i * 2, i * 2);
    cr_assert_str_eq(ranges(many, 1000), "ignore");
}

static int accepts(const char *value, const char *coding)
{
    return http_accept_encoding(value, strlen(value), coding);
}

Test(fields, weighs_encodings)
{
    cr_assert_eq(accepts("gzip, br", "gzip"), 1000);
    cr_assert_eq(accepts("GZip;q=0.5", "gzip"), 500);
    cr_assert_eq(accepts("gzip ; Q=0.125", "gzip"), 125);
    cr_assert_eq(accepts("gzip;q=0", "gzip"), 0);
    cr_assert_eq(accepts("gzip;q=1.000", "gzip"), 1000);
    cr_assert_eq(accepts("x-gzip", "gzip"), 1000);
    cr_assert_eq(accepts("gzip;level=9;q=0.3", "gzip"), 300);
    cr_assert_eq(accepts("*;q=0.7", "br"), 700);
    cr_assert_eq(accepts("*, br;q=0", "br"), 0);
    cr_assert_eq(accepts("*", "identity"), -1);
    cr_assert_eq(accepts("*;q=0", "identity"), 0);
    cr_assert_eq(accepts("identity;q=0.5", "identity"), 500);
    cr_assert_eq(accepts("", "gzip"), -1);
    cr_assert_eq(accepts("deflate", "gzip"), -1);
    cr_assert_eq(accepts("gzipped", "gzip"), -1);
    cr_assert_eq(accepts("gzip;q=2", "gzip"), -1);
    cr_assert_eq(accepts("gzip;q=1.001", "gzip"), -1);
    cr_assert_eq(accepts("gzip;q=", "gzip"), 1000, "no weight at all");
    cr_assert_eq(accepts(",,gzip", "gzip"), 1000);
}

static bool listed(const char *value, const char *tag, bool strong)
{
    return http_etag_listed(value, strlen(value), tag, strong);
}

Test(fields, finds_entity_tags)
{
    cr_assert(listed("\"a\"", "\"a\"", true));
    cr_assert(listed("\"b\", \"a\"", "\"a\"", true));
    cr_assert(listed("\"b,c\" ,\"a\"", "\"a\"", true));
    cr_assert(listed("*", "\"a\"", true));
    cr_assert(listed("W/\"a\"", "\"a\"", false));
    cr_assert_not(listed("W/\"a\"", "\"a\"", true));
    cr_assert_not(listed("\"ab\"", "\"a\"", false));
    cr_assert_not(listed("a", "\"a\"", false));
    cr_assert_not(listed("\"a", "\"a\"", false));
    cr_assert_not(listed("", "\"a\"", false));
    cr_assert_not(listed("w/\"a\"", "\"a\"", false));
}

static int64_t date(const char *value) { return http_date(value, strlen(value)); }

Test(fields, reads_dates_in_three_forms)
{
    cr_assert_eq(date("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
    cr_assert_eq(date("Sunday, 06-Nov-94 08:49:37 GMT"), 784111777);
    cr_assert_eq(date("Sun Nov  6 08:49:37 1994"), 784111777);
    cr_assert_eq(date("Thu, 01 Jan 1970 00:00:00 GMT"), 0);
    cr_assert_eq(date("Tue, 29 Feb 2028 23:59:60 GMT"), 1835481600);
    static const char *const bad[] = {
        "",
        "Sun",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Now 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1969 08:49:37 GMT",
        "784111777",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        cr_assert_eq(date(bad[i]), -1, "%s", bad[i]);
}

Test(fields, writes_dates_that_it_reads)
{
    char text[32];
    http_put_date(text, 784111777);
    cr_assert_str_eq(text, "Sun, 06 Nov 1994 08:49:37 GMT");
    for (int64_t t = 0; t < 4000000000; t += 86400 * 13 + 12345) {
        http_put_date(text, t);
        cr_assert_eq(date(text), t, "%s", text);
    }
    http_put_date(text, -1);
    cr_assert_str_eq(text, "Wed, 31 Dec 1969 23:59:59 GMT");
}
