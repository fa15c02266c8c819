#include "modules/json.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static links_json *json;

static void setup(void) { json = links_json_new(); }

static void teardown(void) { links_json_free(json); }

TestSuite(json, .init = setup, .fini = teardown);

/* From a block of exactly its size, so that ASan sees one byte too many. */
static int parse(const char *text, int flags)
{
    static char *copy;
    size_t len = strlen(text);
    free(copy);
    copy = malloc(len ? len : 1);
    memcpy(copy, text, len);
    return links_json_parse(json, copy, len, 8, flags);
}

static void is_string(int i, const char *expected)
{
    const links_json_node *node = &json->nodes[i];
    cr_assert_eq(node->kind, JSON_STRING);
    cr_assert_eq(node->len, strlen(expected));
    cr_assert_eq(memcmp(node->text, expected, node->len), 0);
}

Test(json, counts_what_belongs_to_a_container)
{
    cr_assert_eq(parse("[1,[],{\"a\":[2,3],\"b\":4}]", 0), 10);
    cr_assert_eq(json->nodes[0].kind, JSON_ARRAY);
    cr_assert_eq(json->nodes[0].len, 3);
    cr_assert_eq(json->nodes[2].len, 0);
    cr_assert_eq(json->nodes[3].kind, JSON_OBJECT);
    cr_assert_eq(json->nodes[3].len, 2);
    cr_assert_eq(json->nodes[5].len, 2);
}

Test(json, points_into_the_text_where_a_string_has_no_escapes)
{
    const char *text = "[\"plain text\", \"a\\tb\", \"\\u20ac\"]";
    cr_assert_eq(links_json_parse(json, text, strlen(text), 8, 0), 4);
    cr_assert_eq(json->nodes[1].text, text + 2);
    is_string(1, "plain text");
    is_string(2, "a\tb");
    is_string(3, "\xe2\x82\xac");
}

Test(json, tells_numbers_that_may_not_be_exact)
{
    cr_assert_eq(parse("[123456789012345,1234567890123456,0.1,1e23,-0]", 0), 6);
    cr_assert_eq(json->nodes[1].kind, JSON_NUMBER);
    cr_assert_eq(json->nodes[1].number, 123456789012345.0);
    cr_assert_eq(json->nodes[2].kind, JSON_INTEGER);
    cr_assert_eq(json->nodes[2].len, 16);
    cr_assert_eq(json->nodes[3].number, 0.1);
    cr_assert_eq(json->nodes[4].kind, JSON_DECIMAL);
    cr_assert_eq(1 / json->nodes[5].number, -1 / 0.0);
}

Test(json, reads_a_new_text_after_one_that_failed)
{
    cr_assert_eq(parse("{\"a\": [1, \"\\x\"]}", 0), LINKS_PARSE);
    cr_assert_str_eq(json->message, "there is no such escape");
    cr_assert_eq(json->at, 11);
    cr_assert_eq(parse("[[[[[[[[[1]]]]]]]]]", 0), LINKS_TOO_LARGE);
    cr_assert_eq(parse("true", 0), 1);
    cr_assert_eq(json->nodes[0].kind, JSON_TRUE);
}

Test(json, takes_comments_only_where_they_are_allowed)
{
    cr_assert_eq(parse("/* a */ 1 // b", JSON_COMMENTS), 1);
    cr_assert_eq(parse("/* a */ 1 // b", 0), LINKS_PARSE);
    cr_assert_eq(parse("1 /* a", JSON_COMMENTS), LINKS_PARSE);
}
