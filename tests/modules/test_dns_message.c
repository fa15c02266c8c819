#include "modules/dns/message.h"

#include <criterion/criterion.h>
#include <string.h>

static const uint8_t name[] = "\1a\4test";

enum { NAME_LEN = sizeof(name), QUESTION = 12 };

static uint8_t bytes[4096];
static size_t len;

/* A message with this code and these counts, and the question for a.test. */
static void begin(int type, int rcode, int answers, int authority, int additional)
{
    const uint8_t head[12] = {0,    7,
                              0x81, (uint8_t)(0x80 | rcode),
                              0,    1,
                              0,    (uint8_t)answers,
                              0,    (uint8_t)authority,
                              0,    (uint8_t)additional};
    memcpy(bytes, head, sizeof(head));
    memcpy(bytes + QUESTION, name, NAME_LEN);
    len = QUESTION + NAME_LEN;
    bytes[len++] = (uint8_t)(type >> 8);
    bytes[len++] = (uint8_t)type;
    bytes[len++] = 0;
    bytes[len++] = 1;
}

static void add(const void *data, size_t n)
{
    memcpy(bytes + len, data, n);
    len += n;
}

/* A record of a.test, its data a literal. */
#define ADD_RECORD(type, ttl, data) add_record(type, ttl, data, sizeof(data) - 1)

static void add_record(int type, uint32_t ttl, const char *data, size_t n)
{
    const uint8_t fixed[12] = {0xc0,
                               QUESTION,
                               (uint8_t)(type >> 8),
                               (uint8_t)type,
                               0,
                               1,
                               (uint8_t)(ttl >> 24),
                               (uint8_t)(ttl >> 16),
                               (uint8_t)(ttl >> 8),
                               (uint8_t)ttl,
                               (uint8_t)(n >> 8),
                               (uint8_t)n};
    add(fixed, sizeof(fixed));
    add(data, n);
}

static answer *parsed;

static const links_dns_answer *parse(int type)
{
    answer_unref(parsed);
    parsed = message_parse(bytes, len, name, NAME_LEN, type);
    return &parsed->public;
}

static void teardown(void)
{
    answer_unref(parsed);
    parsed = NULL;
}

TestSuite(dns_message, .fini = teardown);

Test(dns_message, writes_a_question_with_and_without_EDNS)
{
    uint8_t query[MESSAGE_MAX_QUERY];
    int n = message_query(query, 0x1234, name, NAME_LEN, DNS_MX, true);
    cr_assert_eq(n, 12 + NAME_LEN + 4 + 11);
    cr_assert_eq(memcmp(query, "\x12\x34\1\0\0\1\0\0\0\0\0\1", 12), 0);
    cr_assert_eq(memcmp(query + n - 11, "\0\0\51\4\320\0\0\0\0\0\0", 11), 0);
    n = message_query(query, 0, name, NAME_LEN, DNS_CAA, false);
    cr_assert_eq(n, 12 + NAME_LEN + 4);
    cr_assert_eq(memcmp(query + n - 4, "\1\1\0\1", 4), 0);
    cr_assert_eq(query[11], 0);
}

Test(dns_message, sees_whether_the_case_of_the_question_is_repeated)
{
    uint8_t query[MESSAGE_MAX_QUERY];
    message_query(query, 0, (const uint8_t *)"\1A\4tEst", NAME_LEN, DNS_A, false);
    begin(DNS_A, 0, 0, 0, 0);
    cr_assert_not(message_echoes(bytes, len, query, NAME_LEN));
    memcpy(bytes + QUESTION, "\1A\4tEst", NAME_LEN);
    cr_assert(message_echoes(bytes, len, query, NAME_LEN));
    cr_assert_not(message_echoes(bytes, len - 1, query, NAME_LEN));
}

Test(dns_message, takes_the_least_TTL_for_the_whole)
{
    begin(DNS_A, 0, 2, 0, 0);
    ADD_RECORD(DNS_A, 60, "\1\2\3\4");
    ADD_RECORD(DNS_A, 30, "\1\2\3\5");
    const links_dns_answer *a = parse(DNS_A);
    cr_assert_eq(a->status, 0);
    cr_assert_eq(a->count, 2);
    cr_assert_eq(a->records[0].ttl, 60);
    cr_assert_eq(memcmp(a->records[1].text[0], "1.2.3.5", 7), 0);
    cr_assert_eq(parsed->ttl, 30);
}

Test(dns_message, takes_the_negative_TTL_from_the_SOA_record)
{
    static const char soa[] = "\0\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\5";
    begin(DNS_A, 3, 0, 1, 0);
    add_record(DNS_SOA, 60, soa, sizeof(soa) - 1);
    cr_assert_eq(parse(DNS_A)->status, DNS_ENOTFOUND);
    cr_assert_eq(parsed->ttl, 5);
    begin(DNS_A, 0, 0, 1, 0);
    add_record(DNS_SOA, 4, soa, sizeof(soa) - 1);
    cr_assert_eq(parse(DNS_A)->status, DNS_ENODATA);
    cr_assert_eq(parsed->ttl, 4);
    begin(DNS_A, 3, 0, 0, 0);
    cr_assert_eq(parse(DNS_A)->status, DNS_ENOTFOUND);
    cr_assert_eq(parsed->ttl, 0);
}

Test(dns_message, has_no_records_where_there_is_an_error)
{
    begin(DNS_A, 2, 1, 0, 0);
    ADD_RECORD(DNS_A, 60, "\1\2\3\4");
    cr_assert_eq(parse(DNS_A)->status, DNS_ESERVFAIL);
    cr_assert_eq(parsed->public.count, 0);
}

Test(dns_message, reads_the_upper_bits_of_the_code_from_OPT)
{
    begin(DNS_A, 0, 0, 0, 1);
    add("\0\0\51\4\320\1\0\0\0\0\0", 11); /* BADVERS, RFC 6891, 6.1.3 */
    cr_assert_eq(parse(DNS_A)->status, DNS_EFORMERR);
}

Test(dns_message, passes_over_other_owners_classes_and_types)
{
    begin(DNS_A, 0, 4, 0, 0);
    ADD_RECORD(DNS_A, 60, "\1\2\3\4");
    ADD_RECORD(46, 60, "signature");
    add("\1b\0\0\1\0\1\0\0\0\1\0\4\1\2\3\5", 17);
    add("\300\14\0\1\0\3\0\0\0\1\0\4\1\2\3\6", 16);
    cr_assert_eq(parse(DNS_A)->count, 1);
    cr_assert_eq(parsed->ttl, 60);
}

Test(dns_message, refuses_another_question_or_none)
{
    begin(DNS_A, 0, 0, 0, 0);
    cr_assert_eq(parse(DNS_A)->status, DNS_ENODATA);
    cr_assert_eq(parse(DNS_AAAA)->status, DNS_EBADRESP);
    bytes[2] &= 0x7f; /* a question, not an answer */
    cr_assert_eq(parse(DNS_A)->status, DNS_EBADRESP);
    begin(DNS_A, 0, 0, 0, 0);
    bytes[QUESTION + 1] = 'b';
    cr_assert_eq(parse(DNS_A)->status, DNS_EBADRESP);
    begin(DNS_A, 0, 0, 0, 0);
    bytes[2] |= 2; /* cut short */
    cr_assert_eq(parse(DNS_A)->status, DNS_EBADRESP);
}

Test(dns_message, takes_a_refusal_that_does_not_repeat_the_question)
{
    begin(DNS_A, 1, 0, 0, 0);
    bytes[5] = 0;
    len = 12;
    cr_assert_eq(parse(DNS_A)->status, DNS_EFORMERR);
    bytes[3] = 0x83;
    cr_assert_eq(parse(DNS_A)->status, DNS_EBADRESP);
}

Test(dns_message, refuses_data_with_bytes_to_spare)
{
    static const char soa[23] = "";
    begin(DNS_ANY, 0, 1, 0, 0);
    size_t head = len;
    ADD_RECORD(DNS_A, 60, "\1\2\3\4\5");
    cr_assert_eq(parse(DNS_ANY)->status, DNS_EBADRESP);
    len = head;
    ADD_RECORD(DNS_MX, 60, "\0\1\1a\0x");
    cr_assert_eq(parse(DNS_ANY)->status, DNS_EBADRESP);
    len = head;
    add_record(DNS_SOA, 60, soa, sizeof(soa) - 1);
    cr_assert_eq(parse(DNS_ANY)->status, 0);
    len = head;
    add_record(DNS_SOA, 60, soa, sizeof(soa));
    cr_assert_eq(parse(DNS_ANY)->status, DNS_EBADRESP);
    len = head;
    ADD_RECORD(DNS_NAPTR, 60, "\0\1\0\2\0\0\0\0x");
    cr_assert_eq(parse(DNS_ANY)->status, DNS_EBADRESP);
}

Test(dns_message, refuses_every_message_that_is_cut_short)
{
    begin(DNS_MX, 0, 2, 1, 0);
    ADD_RECORD(DNS_MX, 60, "\0\1\4mail\300\14");
    ADD_RECORD(DNS_MX, 60, "\0\2\300\14");
    ADD_RECORD(DNS_NS, 60, "\2ns\300\14");
    size_t whole = len;
    cr_assert_eq(parse(DNS_MX)->status, 0);
    for (len = 0; len < whole; len++) {
        uint8_t *copy = memcpy(malloc(len + 1), bytes, len);
        answer *a = message_parse(copy, len, name, NAME_LEN, DNS_MX);
        cr_assert_eq(a->public.status, DNS_EBADRESP);
        answer_unref(a);
        free(copy);
    }
}

Test(dns_message, follows_a_chain_of_aliases_that_has_an_end)
{
    begin(DNS_A, 0, 17, 0, 0);
    char target[] = "\1a\4test", owner[] = "\1a\4test";
    for (char c = 'b'; c < 'b' + 16; c++) {
        target[1] = c;
        add(owner, sizeof(owner));
        add("\0\5\0\1\0\0\0\74\0\10", 10);
        add(target, sizeof(target));
        owner[1] = c;
    }
    add(owner, sizeof(owner));
    add("\0\1\0\1\0\0\0\7\0\4\1\2\3\4", 14);
    cr_assert_eq(parse(DNS_A)->status, 0);
    cr_assert_eq(parsed->public.count, 1);
    cr_assert_eq(parsed->ttl, 7);
}
