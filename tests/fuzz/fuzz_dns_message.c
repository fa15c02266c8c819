/*
 * Answers as a server could send them. The first byte chooses the type that was asked for; the rest
 * is the message, to the question that it itself repeats, so that the records are reached. Whatever
 * the bytes are: an answer has records or an error, never both, and all its texts can be read.
 */
#include <assert.h>
#include <string.h>

#include "modules/dns/message.h"

static volatile unsigned sum; /* keeps the reading of every byte */

static void read_all(const answer *a)
{
    for (int i = 0; i < a->public.count; i++) {
        const links_dns_record *r = &a->public.records[i];
        for (int k = 0; k < 4; k++) {
            for (uint32_t j = 0; j < r->len[k]; j++)
                sum += (unsigned char)r->text[k][j];
        }
        assert(r->ttl <= 0x7fffffff || r->type == DNS_OPT);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int types[] = {DNS_A,   DNS_NS,   DNS_CNAME, DNS_SOA,   DNS_PTR, DNS_MX,
                                DNS_TXT, DNS_AAAA, DNS_SRV,   DNS_NAPTR, DNS_ANY, DNS_CAA};
    uint8_t wire[NAME_MAX_WIRE] = {0};
    size_t next;
    if (size < 1)
        return 0;
    int type = types[*data++ % (sizeof(types) / sizeof(*types))];
    size--;
    int wire_len = size > 12 ? name_expand(wire, data, size, 12, &next) : -1;
    if (wire_len < 0) {
        wire[0] = 0; /* the root */
        wire_len = 1;
    }

    answer *a = message_parse(data, size, wire, wire_len, type);
    assert(a->public.status <= 0);
    assert((a->public.status == 0) == (a->public.count > 0));
    read_all(a);
    answer_unref(a);

    char text[NAME_MAX_TEXT];
    assert(name_to_text(text, wire) == strlen(text));
    return 0;
}
