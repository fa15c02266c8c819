#include "modules/dns/cache.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static cache c;

static void setup(void) { cache_init(&c); }

static void teardown(void) { cache_deinit(&c); }

TestSuite(dns_cache, .init = setup, .fini = teardown);

static question ask(const char *name, int type, int servers)
{
    question q;
    cr_assert(question_init(&q, servers, name, strlen(name), type));
    return q;
}

static void put(const char *name, int status, uint32_t ttl, int64_t now)
{
    question q = ask(name, DNS_A, 1);
    answer *a = answer_new(status);
    a->ttl = ttl;
    cache_put(&c, &q, a, now);
    answer_unref(a);
}

static bool has(const char *name, int64_t now)
{
    question q = ask(name, DNS_A, 1);
    return cache_get(&c, &q, now) != NULL;
}

Test(dns_cache, keeps_an_answer_until_its_time_is_over)
{
    put("a.test", 0, 2, 1000);
    cr_assert(has("A.Test.", 2999));
    cr_assert_not(has("a.test", 3000));
    cr_assert_eq(c.count, 0);
    cr_assert_eq(c.bytes, 0);
}

Test(dns_cache, keeps_apart_names_types_and_servers)
{
    put("a.test", 0, 60, 0);
    question q = ask("a.test", DNS_AAAA, 1);
    cr_assert_null(cache_get(&c, &q, 0));
    q = ask("a.test", DNS_A, 2);
    cr_assert_null(cache_get(&c, &q, 0));
    cr_assert_not(has("b.test", 0));
}

Test(dns_cache, does_not_keep_a_negative_answer_without_a_TTL_whatever_the_minimum)
{
    c.min_ttl = 10;
    put("a.test", DNS_ENOTFOUND, 0, 0);
    cr_assert_not(has("a.test", 0));
    put("a.test", 0, 0, 0);
    cr_assert(has("a.test", 9999));
}

Test(dns_cache, keeps_within_the_limits_of_time)
{
    put("a.test", 0, 1u << 30, 0);
    cr_assert(has("a.test", 86399999));
    cr_assert_not(has("a.test", 86400000));
    put("b.test", DNS_ENOTFOUND, 1u << 30, 0);
    cr_assert(has("b.test", 899999));
    cr_assert_not(has("b.test", 900000));
}

Test(dns_cache, forgets_first_what_was_not_used_longest)
{
    c.max_count = 3;
    put("a.test", 0, 60, 0);
    put("b.test", 0, 60, 0);
    put("c.test", 0, 60, 0);
    cr_assert(has("a.test", 0));
    put("d.test", 0, 60, 0);
    cr_assert_not(has("b.test", 0));
    cr_assert(has("a.test", 0) && has("c.test", 0) && has("d.test", 0));
    cr_assert_eq(c.count, 3);
}

Test(dns_cache, is_bounded_in_bytes)
{
    char name[32], big[65000] = {0};
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "%d.test", i);
        question q = ask(name, DNS_TXT, 1);
        answer *a = answer_new(0);
        answer_add(a, DNS_TXT, 60);
        answer_add_text(a, 0, big, sizeof(big));
        answer_finish(a);
        a->ttl = 60;
        cache_put(&c, &q, a, 0);
        answer_unref(a);
        cr_assert_leq(c.bytes, CACHE_MAX_BYTES);
    }
    cr_assert_gt(c.count, 50);
}

Test(dns_cache, holds_what_it_replaces_and_clears)
{
    put("a.test", 0, 60, 0);
    put("a.test", 0, 60, 0);
    put("b.test", 0, 60, 0);
    cr_assert_eq(c.count, 2);
    question q = ask("a.test", DNS_A, 1);
    cr_assert_eq(cache_clear(&c, q.wire, q.wire_len), 1);
    cr_assert_not(has("a.test", 0));
    cr_assert_eq(cache_clear(&c, NULL, 0), 1);
    cr_assert_eq(c.bytes, 0);
}
