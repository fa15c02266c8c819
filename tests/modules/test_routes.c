#include "modules/http/routes.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static links_http_routes *routes;
static links_http_value values[LINKS_HTTP_VALUES];

static void setup(void) { routes = links_http_routes_new(); }

static void teardown(void) { links_http_routes_free(routes); }

TestSuite(routes, .init = setup, .fini = teardown);

static int add_static(int from, const char *text)
{
    return links_http_routes_child(routes, from, LINKS_HTTP_STATIC, text, strlen(text));
}

static int add(int from, int kind) { return links_http_routes_child(routes, from, kind, "", 0); }

static int end(int node)
{
    links_http_routes_end(routes, node, 7);
    return node;
}

static int find(const char *target)
{
    links_http_req r = {.url = target, .url_len = (uint32_t)strlen(target)};
    return links_http_routes_find(routes, &r, values);
}

static void assert_value(int i, const char *text)
{
    cr_assert_eq((size_t)values[i].len, strlen(text));
    cr_assert_eq(memcmp(values[i].data, text, strlen(text)), 0);
}

Test(routes, finds_what_is_written_out)
{
    int user = end(add_static(0, "user"));
    int list = end(add_static(user, "list"));
    cr_assert_eq(find("/user"), user);
    cr_assert_eq(find("/user?a=/b"), user);
    cr_assert_eq(find("http://host/user/list"), list);
    cr_assert_eq(find("/list"), -1);
    cr_assert_eq(find("/use"), -1);
    cr_assert_eq(find("/users"), -1);
    cr_assert_eq(find("*"), -1);
}

Test(routes, returns_the_same_child_for_the_same_segment)
{
    cr_assert_eq(add_static(0, "a"), add_static(0, "a"));
    cr_assert_neq(add_static(0, "a"), add_static(0, "b"));
    cr_assert_eq(add(0, LINKS_HTTP_PARAM), add(0, LINKS_HTTP_PARAM));
    cr_assert_neq(add(0, LINKS_HTTP_PARAM), add(0, LINKS_HTTP_DIGITS));
}

Test(routes, tells_the_values_of_parameters)
{
    int user = add_static(0, "user");
    int id = add(user, LINKS_HTTP_PARAM), digits = end(add(user, LINKS_HTTP_DIGITS));
    int part = end(add(add_static(id, "part"), LINKS_HTTP_PARAM));
    end(id);
    cr_assert_eq(find("/user/17?x"), digits);
    assert_value(0, "17");
    cr_assert_eq(find("/user/17a"), id);
    assert_value(0, "17a");
    cr_assert_eq(find("/user/me/part/a.b"), part);
    assert_value(0, "me");
    assert_value(1, "a.b");
    cr_assert_eq(find("/user"), -1);
}

Test(routes, leaves_to_lua_what_needs_a_second_look)
{
    int top = end(add_static(0, "top"));
    int id = end(add(top, LINKS_HTTP_PARAM));
    int rest = end(add(add_static(0, "files"), LINKS_HTTP_REST));
    cr_assert_eq(find("/top/x"), id);
    cr_assert_eq(find("/files/a/b"), rest);
    assert_value(0, "a/b");
    const char *odd[] = {"/",           "//",          "/top/",      "/top//",      "//top",
                         "/top/%41",    "/top/..",     "/top/.",     "/top\\x",     "/top/x\\",
                         "/files/",     "/files/a/",   "/files/a//", "/files/../a", "/files/a/..",
                         "/files/a%20", "/files/a\\b", "/top/x/y",   "/%74op"};
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        cr_assert_eq(find(odd[i]), -1, "%s", odd[i]);
}

Test(routes, leaves_the_children_of_a_hidden_node_to_lua_but_for_those_written_out)
{
    int user = add_static(0, "user");
    int me = end(add_static(user, "me"));
    end(add(user, LINKS_HTTP_PARAM));
    links_http_routes_hide(routes, user);
    cr_assert_eq(find("/user/me"), me);
    cr_assert_eq(find("/user/you"), -1);
}

Test(routes, has_no_more_than_so_many_values)
{
    char path[64] = "";
    int at = 0;
    for (int i = 0; i < LINKS_HTTP_VALUES; i++) {
        at = add(at, LINKS_HTTP_PARAM);
        strcat(path, "/x");
    }
    end(at);
    cr_assert_eq(find(path), at);
    end(add(at, LINKS_HTTP_PARAM));
    strcat(path, "/x");
    cr_assert_eq(find(path), -1);
}

Test(routes, finds_each_of_many)
{
    enum { MANY = 5000 };
    static int nodes[MANY];
    char text[32];
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof(text), "group%d", i / 10);
        int group = add_static(0, text);
        snprintf(text, sizeof(text), "item%d", i % 10);
        nodes[i] = end(add_static(group, text));
    }
    for (int i = 0; i < MANY; i++) {
        snprintf(text, sizeof(text), "/group%d/item%d", i / 10, i % 10);
        cr_assert_eq(find(text), nodes[i], "%s", text);
    }
}
