/*
 * DNS messages: questions out, answers in. The parser is strict: an answer that breaks a rule in
 * its header, its question, or a record of its answer or authority section is no answer.
 */
#ifndef LINKS_MODULES_DNS_MESSAGE_H
#define LINKS_MODULES_DNS_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "dns.h"
#include "ev/ev.h"
#include "name.h"

/* Of the record types, those with a form of their own here. */
enum {
    DNS_A = 1,
    DNS_NS = 2,
    DNS_CNAME = 5,
    DNS_SOA = 6,
    DNS_PTR = 12,
    DNS_MX = 15,
    DNS_TXT = 16,
    DNS_AAAA = 28,
    DNS_SRV = 33,
    DNS_NAPTR = 35,
    DNS_OPT = 41,
    DNS_ANY = 255,
    DNS_CAA = 257,
};

enum {
    MESSAGE_MAX_QUERY = 12 + NAME_MAX_WIRE + 4 + 11,
    MESSAGE_UDP_SIZE = 1232, /* what fits every path unfragmented: the DNS flag day's number */
};

/* The codes of c-ares as links has them. */
enum {
    DNS_ENODATA = -10001,
    DNS_EFORMERR = -10002,
    DNS_ESERVFAIL = -10003,
    DNS_ENOTFOUND = -10004,
    DNS_ENOTIMP = -10005,
    DNS_EREFUSED = -10006,
    DNS_EBADNAME = -10008,
    DNS_EBADRESP = -10010,
    DNS_ECONNREFUSED = -10011,
    DNS_ETIMEOUT = -10012,
    DNS_EDESTRUCTION = -10016,
    DNS_ENOSERVER = -10026,
};

/* An answer as the cache and the asks share it: counted, and never changed. */
typedef struct answer {
    links_dns_answer public; /* the first member: what Lua has is this */
    links_dns_record *records;
    char *text;
    uint32_t ttl;  /* seconds it may be kept for: of a positive one the least of its records', of
                      a negative one what the zone's SOA says. 0: not at all */
    uint32_t size; /* bytes */
    int refs;
    int capacity;
    uint32_t text_len, text_capacity;
    int64_t at_ms; /* when it came */
    ev_release release;
} answer;

/* An answer without a record, with one reference. Undone by answer_unref. */
answer *answer_new(int status);
answer *answer_ref(answer *a);
void answer_unref(answer *a);

/* The same for an answer that Lua may be looking at: the memory goes at the end of the turn. */
void answer_unref_later(answer *a, ev_loop *loop);

/* Empties an answer of which there is one reference. */
void answer_reset(answer *a, int status);

/* For the parser, the hosts file and literals: adds a record, then texts to it; answer_finish
 * makes it readable. */
links_dns_record *answer_add(answer *a, int type, uint32_t ttl);
void answer_add_text(answer *a, int i, const char *text, size_t len);
void answer_add_address(answer *a, int family, const uint8_t *ip, uint32_t ttl);
void answer_finish(answer *a);

/* Writes the question for `wire`, whose case the server is to repeat, with a random id; `edns`
 * says that we take MESSAGE_UDP_SIZE bytes over UDP. Returns its length. */
int message_query(uint8_t query[static MESSAGE_MAX_QUERY], uint16_t id, const uint8_t *wire,
                  int wire_len, int type, bool edns);

/* Whether the message repeats the question of `query` byte by byte. */
bool message_echoes(const uint8_t *message, size_t len, const uint8_t *query, int wire_len);

/* Reads the answer to the question for `wire` (lower case). Never fails: what is wrong is the
 * answer's status, DNS_EBADRESP for a malformed message. */
answer *message_parse(const uint8_t *message, size_t len, const uint8_t *wire, int wire_len,
                      int type);

#endif
