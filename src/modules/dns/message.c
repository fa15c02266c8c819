#include "message.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"

enum {
    HEADER = 12,
    CLASS_IN = 1,
    MAX_CHAIN = 16,       /* CNAMEs that are followed */
    MAX_TTL = 0x7fffffff, /* RFC 2181, 8: what is above counts as 0 */
    RCODE_NXDOMAIN = 3,
};

/* --- answers ------------------------------------------------------------------------------- */

answer *answer_new(int status)
{
    answer *a = mem_new(answer);
    a->refs = 1;
    a->public.status = status;
    a->size = sizeof(*a);
    return a;
}

answer *answer_ref(answer *a)
{
    a->refs++;
    return a;
}

static void answer_free(ev_release *release)
{
    answer *a = CONTAINER_OF(release, answer, release);
    mem_free(a->records);
    mem_free(a->text);
    mem_free(a);
}

void answer_unref(answer *a)
{
    if (a && --a->refs == 0)
        answer_free(&a->release);
}

void answer_unref_later(answer *a, ev_loop *loop)
{
    if (a && --a->refs == 0)
        ev_release_later(loop, &a->release, answer_free);
}

void answer_reset(answer *a, int status)
{
    a->public = (links_dns_answer){.status = status};
    a->text_len = 0;
    a->ttl = 0;
}

links_dns_record *answer_add(answer *a, int type, uint32_t ttl)
{
    if (a->public.count == a->capacity) {
        a->capacity = a->capacity ? a->capacity * 2 : 2;
        a->records = mem_realloc(a->records, (size_t)a->capacity * sizeof(*a->records));
    }
    links_dns_record *r = &a->records[a->public.count++];
    *r = (links_dns_record){.type = (uint32_t)type, .ttl = ttl};
    return r;
}

/* The buffer moves while it grows, so a text's place in it is kept until answer_finish. */
void answer_add_text(answer *a, int i, const char *text, size_t len)
{
    if (a->text_capacity - a->text_len < len) {
        a->text_capacity = a->text_len + (uint32_t)len + a->text_capacity / 2 + 16;
        a->text = mem_realloc(a->text, a->text_capacity);
    }
    links_dns_record *r = &a->records[a->public.count - 1];
    r->text[i] = (const char *)(uintptr_t)a->text_len;
    r->len[i] = (uint32_t)len;
    if (len)
        memcpy(a->text + a->text_len, text, len);
    a->text_len += (uint32_t)len;
}

void answer_add_address(answer *a, int family, const uint8_t *ip, uint32_t ttl)
{
    char text[INET6_ADDRSTRLEN];
    inet_ntop(family == 6 ? AF_INET6 : AF_INET, ip, text, sizeof(text));
    answer_add(a, family == 6 ? DNS_AAAA : DNS_A, ttl);
    answer_add_text(a, 0, text, strlen(text));
}

void answer_finish(answer *a)
{
    for (int i = 0; i < a->public.count; i++) {
        links_dns_record *r = &a->records[i];
        for (int k = 0; k < 4; k++)
            r->text[k] = r->len[k] ? a->text + (uintptr_t)r->text[k] : "";
    }
    a->public.records = a->records;
    a->size = (uint32_t)(sizeof(*a) + (size_t)a->capacity * sizeof(*a->records) + a->text_capacity);
}

/* --- questions ----------------------------------------------------------------------------- */

static uint8_t *put16(uint8_t *to, unsigned value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
    return to + 2;
}

int message_query(uint8_t query[static MESSAGE_MAX_QUERY], uint16_t id, const uint8_t *wire,
                  int wire_len, int type, bool edns)
{
    uint8_t *to = put16(query, id);
    to = put16(to, 0x0100); /* recursion desired */
    to = put16(to, 1);
    to = put16(to, 0);
    to = put16(to, 0);
    to = put16(to, edns);
    memcpy(to, wire, (size_t)wire_len);
    to = put16(to + wire_len, (unsigned)type);
    to = put16(to, CLASS_IN);
    if (edns) { /* RFC 6891, 6.1.2 */
        *to++ = 0;
        to = put16(to, DNS_OPT);
        to = put16(to, MESSAGE_UDP_SIZE);
        memset(to, 0, 6);
        to += 6;
    }
    return (int)(to - query);
}

bool message_echoes(const uint8_t *message, size_t len, const uint8_t *query, int wire_len)
{
    size_t question = (size_t)wire_len + 4;
    return len >= HEADER + question && memcmp(message + HEADER, query + HEADER, question) == 0;
}

/* --- reading ------------------------------------------------------------------------------- */

typedef struct message {
    const uint8_t *bytes;
    size_t len;
    size_t at;
} message;

/* A record's fixed part, and where its data is. */
typedef struct rr {
    uint8_t owner[NAME_MAX_WIRE];
    int owner_len;
    int type, class;
    uint32_t ttl;
    size_t data, end;
} rr;

static unsigned get16(const uint8_t *p) { return (unsigned)p[0] << 8 | p[1]; }

static uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }

static bool read_rr(message *m, rr *r)
{
    r->owner_len = name_expand(r->owner, m->bytes, m->len, m->at, &m->at);
    if (r->owner_len < 0 || m->len - m->at < 10)
        return false;
    const uint8_t *p = m->bytes + m->at;
    r->type = (int)get16(p);
    r->class = (int)get16(p + 2);
    r->ttl = get32(p + 4);
    if (r->ttl > MAX_TTL && r->type != DNS_OPT)
        r->ttl = 0;
    r->data = m->at + 10;
    r->end = r->data + get16(p + 8);
    m->at = r->end;
    return r->end <= m->len;
}

/* Reads a name at *at of a record's data, which it must not leave. */
static bool read_name(const message *m, const rr *r, size_t *at, uint8_t wire[static NAME_MAX_WIRE])
{
    return *at < r->end && name_expand(wire, m->bytes, m->len, *at, at) > 0 && *at <= r->end;
}

static bool add_name(answer *a, int i, const message *m, const rr *r, size_t *at)
{
    uint8_t wire[NAME_MAX_WIRE];
    char text[NAME_MAX_TEXT];
    if (!read_name(m, r, at, wire))
        return false;
    answer_add_text(a, i, text, name_to_text(text, wire));
    return true;
}

/* A string with its length before it. */
static bool add_string(answer *a, int i, const message *m, const rr *r, size_t *at)
{
    if (*at >= r->end)
        return false;
    size_t n = m->bytes[*at];
    if (n > r->end - *at - 1)
        return false;
    answer_add_text(a, i, (const char *)m->bytes + *at + 1, n);
    *at += n + 1;
    return true;
}

/* --- the types ----------------------------------------------------------------------------- */

/* text[0] the address */
static bool add_address(answer *a, const message *m, const rr *r)
{
    int family = r->type == DNS_AAAA ? 6 : 4;
    if (r->end - r->data != (family == 6 ? 16 : 4))
        return false;
    answer_add_address(a, family, m->bytes + r->data, r->ttl);
    return true;
}

/* NS, CNAME, PTR: text[0] the name. MX, SRV: numbers before it. */
static bool add_target(answer *a, const message *m, const rr *r, int numbers)
{
    size_t at = r->data + (size_t)numbers * 2;
    if (at > r->end)
        return false;
    links_dns_record *record = answer_add(a, r->type, r->ttl);
    for (int i = 0; i < numbers; i++)
        record->number[i] = get16(m->bytes + r->data + i * 2);
    return add_name(a, 0, m, r, &at) && at == r->end;
}

/* text[0] primary server, text[1] mailbox; numbers: serial, refresh, retry, expire, minimum */
static bool add_soa(answer *a, const message *m, const rr *r)
{
    size_t at = r->data;
    answer_add(a, r->type, r->ttl);
    if (!add_name(a, 0, m, r, &at) || !add_name(a, 1, m, r, &at) || r->end - at != 20)
        return false;
    links_dns_record *record = &a->records[a->public.count - 1];
    for (int i = 0; i < 5; i++)
        record->number[i] = get32(m->bytes + at + i * 4);
    return true;
}

/* text[0] all strings as they came, each with its length before it */
static bool add_txt(answer *a, const message *m, const rr *r)
{
    size_t at = r->data;
    do {
        if (at >= r->end)
            return false;
        at += m->bytes[at] + 1u;
    } while (at < r->end);
    answer_add(a, r->type, r->ttl);
    answer_add_text(a, 0, (const char *)m->bytes + r->data, r->end - r->data);
    return at == r->end;
}

/* RFC 8659, 4.1: number[0] the flags, text[0] the tag, text[1] the value */
static bool add_caa(answer *a, const message *m, const rr *r)
{
    size_t at = r->data + 1;
    if (at >= r->end)
        return false;
    answer_add(a, r->type, r->ttl)->number[0] = m->bytes[r->data];
    if (m->bytes[at] == 0 || !add_string(a, 0, m, r, &at))
        return false;
    answer_add_text(a, 1, (const char *)m->bytes + at, r->end - at);
    return true;
}

/* RFC 3403, 4.1: order, preference; flags, services, regexp, replacement */
static bool add_naptr(answer *a, const message *m, const rr *r)
{
    size_t at = r->data + 4;
    if (at > r->end)
        return false;
    links_dns_record *record = answer_add(a, r->type, r->ttl);
    record->number[0] = get16(m->bytes + r->data);
    record->number[1] = get16(m->bytes + r->data + 2);
    for (int i = 0; i < 3; i++) {
        if (!add_string(a, i, m, r, &at))
            return false;
    }
    return add_name(a, 3, m, r, &at) && at == r->end;
}

/* Adds a record; false where its data is malformed. */
static bool add_record(answer *a, const message *m, const rr *r)
{
    switch (r->type) {
    case DNS_A:
    case DNS_AAAA:
        return add_address(a, m, r);
    case DNS_NS:
    case DNS_CNAME:
    case DNS_PTR:
        return add_target(a, m, r, 0);
    case DNS_MX:
        return add_target(a, m, r, 1);
    case DNS_SRV:
        return add_target(a, m, r, 3);
    case DNS_SOA:
        return add_soa(a, m, r);
    case DNS_TXT:
        return add_txt(a, m, r);
    case DNS_CAA:
        return add_caa(a, m, r);
    case DNS_NAPTR:
        return add_naptr(a, m, r);
    default: /* of ANY: text[0] the data */
        answer_add(a, r->type, r->ttl);
        answer_add_text(a, 0, (const char *)m->bytes + r->data, r->end - r->data);
        return true;
    }
}

/* --- sections ------------------------------------------------------------------------------ */

static bool names_equal(const uint8_t *a, int a_len, const uint8_t *b, int b_len)
{
    return a_len == b_len && memcmp(a, b, (size_t)a_len) == 0;
}

/* Goes through the `n` records at m->at and adds those of `type` that `owner` has. Where `owner` is
 * an alias it becomes what it stands for, and *aliased is set; the records of an alias's target may
 * well come before it, so the caller goes through all again then. */
static bool scan(answer *a, message *m, unsigned n, uint8_t owner[static NAME_MAX_WIRE],
                 int *owner_len, int type, uint32_t *ttl, bool *aliased)
{
    rr r;
    *aliased = false;
    for (unsigned i = 0; i < n; i++) {
        if (!read_rr(m, &r))
            return false;
        if (r.class != CLASS_IN || *aliased ||
            !names_equal(r.owner, r.owner_len, owner, *owner_len))
            continue;
        if (type == DNS_ANY || r.type == type) {
            if (!add_record(a, m, &r))
                return false;
            if (r.ttl < *ttl)
                *ttl = r.ttl;
        } else if (r.type == DNS_CNAME) {
            size_t at = r.data;
            *owner_len = name_expand(owner, m->bytes, m->len, at, &at);
            if (*owner_len < 0 || at != r.end)
                return false;
            if (r.ttl < *ttl)
                *ttl = r.ttl;
            *aliased = true;
        }
    }
    return true;
}

/* How long a negative answer may be kept: RFC 2308, 5. */
static bool negative_ttl(answer *a, message *m, unsigned n)
{
    answer *soa = answer_new(0);
    bool ok = true;
    for (unsigned i = 0; i < n && ok; i++) {
        rr r;
        ok = read_rr(m, &r);
        if (!ok || r.type != DNS_SOA || r.class != CLASS_IN)
            continue;
        ok = add_soa(soa, m, &r);
        if (ok) {
            uint32_t minimum = soa->records[soa->public.count - 1].number[4];
            a->ttl = r.ttl < minimum ? r.ttl : minimum;
        }
    }
    answer_unref(soa);
    return ok;
}

/* The code that a server gives, with the upper bits from its OPT record. -1: malformed. */
static int response_code(const message *after_answers, unsigned authority, unsigned additional)
{
    message m = *after_answers;
    unsigned code = m.bytes[3] & 15;
    for (unsigned i = 0; i < authority + additional; i++) {
        rr r;
        if (!read_rr(&m, &r))
            return -1;
        if (i >= authority && r.type == DNS_OPT)
            code |= (r.ttl >> 24) << 4;
    }
    return (int)code;
}

static int status_of(int code)
{
    switch (code) {
    case 1:
    case 16: /* BADVERS: it does not know our EDNS */
        return DNS_EFORMERR;
    case RCODE_NXDOMAIN:
        return DNS_ENOTFOUND;
    case 4:
        return DNS_ENOTIMP;
    case 5:
        return DNS_EREFUSED;
    default:
        return DNS_ESERVFAIL;
    }
}

/* The header and the question; *m is behind them then. */
static bool read_question(message *m, const uint8_t *wire, int wire_len, int type)
{
    uint8_t name[NAME_MAX_WIRE];
    const uint8_t *p = m->bytes;
    /* A response (QR) to a plain query (opcode 0), not cut short. */
    if (m->len < HEADER || !(p[2] & 0x80) || p[2] & 0x7a || get16(p + 4) != 1)
        return false;
    m->at = HEADER;
    int n = name_expand(name, p, m->len, m->at, &m->at);
    if (n < 0 || !names_equal(name, n, wire, wire_len) || m->len - m->at < 4)
        return false;
    p += m->at;
    m->at += 4;
    return (int)get16(p) == type && get16(p + 2) == CLASS_IN;
}

static bool read_answers(answer *a, message *m, const uint8_t *wire, int wire_len, int type)
{
    uint8_t owner[NAME_MAX_WIRE];
    const uint8_t *p = m->bytes;
    unsigned n = get16(p + 6), authority = get16(p + 8), additional = get16(p + 10);
    size_t answers = m->at;
    uint32_t ttl = MAX_TTL;
    bool aliased = true;

    memcpy(owner, wire, (size_t)wire_len);
    for (int chain = 0; aliased; chain++) {
        if (chain > MAX_CHAIN)
            return false;
        m->at = answers;
        if (!scan(a, m, n, owner, &wire_len, type, &ttl, &aliased))
            return false;
    }
    int code = response_code(m, authority, additional);
    if (code < 0)
        return false;
    if (code == 0 && a->public.count) {
        a->ttl = ttl;
        return true;
    }
    /* Records that come with an error are none. */
    answer_reset(a, code ? status_of(code) : DNS_ENODATA);
    if (code == 0 || code == RCODE_NXDOMAIN)
        return negative_ttl(a, m, authority);
    return true;
}

answer *message_parse(const uint8_t *bytes, size_t len, const uint8_t *wire, int wire_len, int type)
{
    message m = {.bytes = bytes, .len = len};
    answer *a = answer_new(0);

    if (len >= HEADER && bytes[2] & 0x80 && bytes[3] & 15 && get16(bytes + 4) == 0)
        /* Some servers refuse what they do not understand without repeating it. */
        answer_reset(a,
                     (bytes[3] & 15) == RCODE_NXDOMAIN ? DNS_EBADRESP : status_of(bytes[3] & 15));
    else if (!read_question(&m, wire, wire_len, type) || !read_answers(a, &m, wire, wire_len, type))
        answer_reset(a, DNS_EBADRESP);
    answer_finish(a);
    return a;
}
