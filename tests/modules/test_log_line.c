#define _GNU_SOURCE
#include "modules/log/line.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "modules/json.h"

static log_line line;
static links_log_line *l = &line.view;

static void setup(void) { log_line_init(&line); }

TestSuite(log_line, .init = setup, .timeout = 120);

/* The text behind the time, which is 24 bytes and a space. */
static const char *text(void)
{
    line.buffer[l->len] = 0;
    return line.buffer + 25;
}

static void begin(int format, const char *name, const char *message)
{
    links_log_begin(l, format, 0, LINKS_LOG_INFO, name, strlen(name), message, strlen(message));
}

static void string(const char *key, const char *value)
{
    links_log_key(l, key, strlen(key));
    links_log_string(l, value, strlen(value));
}

static void number(const char *key, double n)
{
    links_log_key(l, key, strlen(key));
    links_log_number(l, n);
}

static void assert_json(void)
{
    links_json *json = links_json_new();
    int n = links_json_parse(json, line.buffer, l->len, 100, 0);
    cr_assert_gt(n, 0, "%s at %g: %.*s", json->message, json->at,
                 (int)(l->len < 500 ? l->len : 500), line.buffer);
    links_json_free(json);
}

Test(log_line, of_text_has_a_time_a_level_a_name_and_fields)
{
    begin(LINKS_LOG_TEXT, "db", "it went well");
    number("ms", 12.5);
    string("path", "/a/b?c");
    string("who", "two words");
    string("none", "");
    links_log_end(l, 0);
    cr_assert_eq(line.buffer[10], 'T');
    cr_assert_eq(line.buffer[23], 'Z');
    cr_assert_str_eq(
        text(), "INFO  db: it went well ms=12.5 path=\"/a/b?c\" who=\"two words\" none=\"\"\n");
}

Test(log_line, cannot_be_ended_or_colored_by_what_is_in_it)
{
    begin(LINKS_LOG_TEXT, "a\nb", "x\r\ny\tz\033[31m\177 \302\205 \342\200\250 \342\200\256 \377");
    string("k=\n ", "v\n\"w\\ \033");
    links_log_end(l, 0);
    cr_assert_str_eq(text(),
                     "INFO  a\\nb: x\\r\\ny\\tz\\x1b[31m\\x7f \\u{85} \\u{2028} \\u{202e} "
                     "\\xff k___=\"v\\n\\\"w\\\\ \\x1b\"\n");
}

Test(log_line, keeps_what_people_write_as_it_is)
{
    const char *words =
        "\303\244\303\251 \342\202\254 \346\227\245\346\234\254 \360\237\230\200 \"q\"";
    char expected[128];
    begin(LINKS_LOG_TEXT, "", words);
    links_log_end(l, 0);
    snprintf(expected, sizeof(expected), "INFO  %s\n", words);
    cr_assert_str_eq(text(), expected);
}

Test(log_line, of_json_is_json_whatever_is_in_it)
{
    char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    for (size_t from = 0; from < sizeof(all); from += 5) {
        links_log_begin(l, LINKS_LOG_JSON, 0, LINKS_LOG_INFO, all + from, 1, all + from,
                        sizeof(all) - from);
        links_log_key(l, all + from, sizeof(all) - from < 40 ? sizeof(all) - from : 40);
        links_log_string(l, all, sizeof(all));
        links_log_end(l, 0);
        cr_assert_null(memchr(line.buffer, '\n', l->len - 1));
        assert_json();
    }
}

Test(log_line, replaces_what_is_no_utf_8_in_json)
{
    static const char *const bad[] = {
        "\200", "\300\200", "\340\200\200", "\355\240\200", "\364\220\200\200", "\370", "\342\202"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        begin(LINKS_LOG_JSON, "", bad[i]);
        links_log_end(l, 0);
        line.buffer[l->len] = 0;
        cr_assert(strstr(line.buffer, "\"message\":\"\\ufffd"), "%s", line.buffer);
        assert_json();
    }
}

Test(log_line, writes_numbers_that_are_read_as_the_same)
{
    static const double numbers[] = {0, -1, 0.1, 1e15, 1e300, -2.5e-7, 123456789012345, 1.0 / 3};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        double back;
        links_log_piece(l, LINKS_LOG_JSON);
        links_log_number(l, numbers[i]);
        line.buffer[l->len] = 0;
        cr_assert_eq(sscanf(line.buffer, "%lf", &back), 1);
        cr_assert_eq(back, numbers[i], "%s", line.buffer);
    }
    links_log_piece(l, LINKS_LOG_JSON);
    links_log_number(l, NAN);
    cr_assert_eq(memcmp(line.buffer, "null", 4), 0);
}

Test(log_line, nests_tables_as_json_in_text_too)
{
    begin(LINKS_LOG_TEXT, "", "m");
    links_log_key(l, "t", 1);
    links_log_open(l, '{');
    string("a", "x y");
    links_log_key(l, "b", 1);
    links_log_open(l, '[');
    links_log_number(l, 1);
    links_log_number(l, 2);
    links_log_close(l, ']');
    links_log_close(l, '}');
    string("c", "d");
    links_log_end(l, 0);
    cr_assert_str_eq(text(), "INFO  m t={\"a\":\"x y\",\"b\":[1,2]} c=d\n");
}

Test(log_line, is_bounded_and_says_that_it_was_cut)
{
    static char big[100000];
    memset(big, '\n', sizeof(big));
    for (int format = LINKS_LOG_TEXT; format <= LINKS_LOG_JOURNAL; format++) {
        links_log_begin(l, format, 0, LINKS_LOG_INFO, big, sizeof(big), big, sizeof(big));
        for (int i = 0; i < 20; i++) {
            links_log_key(l, big, sizeof(big));
            links_log_open(l, '{');
            links_log_key(l, "k", 1);
            links_log_string(l, big, sizeof(big));
            links_log_close(l, '}');
            links_log_key(l, "l", 1);
            links_log_string(l, big, sizeof(big));
        }
        links_log_end(l, 0);
        cr_assert_leq(l->len, LOG_LINE_MAX + LOG_LINE_SLACK);
        cr_assert_eq(l->cut, 2);
        line.buffer[l->len] = 0;
        cr_assert(strstr(line.buffer + l->len - 24, format == LINKS_LOG_TEXT ? " truncated=true\n"
                                                    : format == LINKS_LOG_JSON
                                                        ? ",\"truncated\":true}\n"
                                                        : "TRUNCATED=true\n"));
        if (format == LINKS_LOG_JSON)
            assert_json();
    }
}

Test(log_line, goes_no_deeper_than_it_may)
{
    begin(LINKS_LOG_JSON, "", "deep");
    for (int i = 0; i < 60; i++) {
        links_log_key(l, "k", 1);
        links_log_open(l, '{');
    }
    for (int i = 0; i < 60; i++)
        links_log_close(l, '}');
    links_log_end(l, 0);
    assert_json();
}

Test(log_line, begins_for_syslog_as_rfc_5424_has_it)
{
    char name[64];
    int facility, version;
    links_log_identity(16, "my app");
    links_log_begin(l, LINKS_LOG_TEXT, LINKS_LOG_SYSLOG, LINKS_LOG_ERROR, "d b", 3, "boom", 4);
    links_log_end(l, 0);
    line.buffer[l->len] = 0;
    cr_assert_eq(sscanf(line.buffer, "<%d>%d %*s %*s %63s", &facility, &version, name), 3);
    cr_assert_eq(facility, 16 * 8 + 3);
    cr_assert_eq(version, 1);
    cr_assert_str_eq(name, "my_app");
    cr_assert(strstr(line.buffer, " d_b - boom\n"));
}

Test(log_line, tells_the_journal_the_length_of_what_has_line_ends)
{
    begin(LINKS_LOG_JOURNAL, "", "one");
    string("two-lines", "a\nb");
    string("_x", "1");
    links_log_end(l, 0);
    cr_assert(memmem(line.buffer, l->len, "MESSAGE=one\n", 12));
    cr_assert(memmem(line.buffer, l->len, "TWO_LINES\n\3\0\0\0\0\0\0\0a\nb\nF__X=1\n", 29));
}

Test(log_line, is_kept_among_the_last_ones)
{
    const char *data;
    for (int i = 0; i < 10000; i++) {
        char message[64];
        snprintf(message, sizeof(message), "line %d", i);
        begin(LINKS_LOG_TEXT, "", message);
        links_log_end(l, 1);
    }
    int len = links_log_tail(&data);
    cr_assert_gt(len, LOG_TAIL_SIZE / 2 - 100);
    cr_assert_eq(data[len - 1], '\n');
    cr_assert(memmem(data, (size_t)len, " line 9999\n", 11));
    cr_assert_eq(data[4], '-', "the first one is whole");
}

Test(log_line, knows_the_calendar)
{
    int year, month, day;
    log_date_of(0, &year, &month, &day);
    cr_assert(year == 1970 && month == 1 && day == 1);
    log_date_of(11016, &year, &month, &day);
    cr_assert(year == 2000 && month == 2 && day == 29);
    log_date_of(20820, &year, &month, &day);
    cr_assert(year == 2027 && month == 1 && day == 2);
}
