#include "hosts.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "hash.h"

enum { MAX_HOSTS = 1 << 24, FIRST_BUCKETS = 64 };

void hosts_init(hosts *h) { memset(h, 0, sizeof(*h)); }

void hosts_deinit(hosts *h)
{
    mem_free(h->hosts);
    mem_free(h->names);
    mem_free(h->buckets);
    hosts_init(h);
}

static size_t wire_len(const uint8_t *wire)
{
    const uint8_t *p = wire;
    while (*p)
        p += *p + 1;
    return (size_t)(p - wire) + 1;
}

/* --- building ------------------------------------------------------------------------------ */

static void add(hosts *h, int family, const uint8_t *ip, const uint8_t *wire, size_t len)
{
    if (h->count + 1 >= MAX_HOSTS)
        return;
    if (h->count + 1 >= h->capacity) {
        h->capacity = h->capacity ? h->capacity * 2 : 16;
        h->hosts = mem_realloc(h->hosts, h->capacity * sizeof(*h->hosts));
    }
    if (h->names_capacity - h->names_len < len) {
        h->names_capacity = h->names_capacity * 2 + (uint32_t)len + 256;
        h->names = mem_realloc(h->names, h->names_capacity);
    }
    host *one = &h->hosts[++h->count];
    *one = (host){.name = h->names_len, .family = (uint8_t)family};
    memcpy(one->ip, ip, family == 6 ? 16 : 4);
    memcpy(h->names + h->names_len, wire, len);
    h->names_len += (uint32_t)len;
}

/* Made anew after each parse: from the last to the first, so that each bucket has the file's
 * order. */
static void make_buckets(hosts *h)
{
    uint32_t n = FIRST_BUCKETS;
    while (n < h->count)
        n *= 2;
    mem_free(h->buckets);
    h->buckets = mem_zalloc(n * sizeof(*h->buckets));
    h->mask = n - 1;
    for (uint32_t i = h->count; i; i--) {
        const uint8_t *wire = h->names + h->hosts[i].name;
        uint32_t *bucket = &h->buckets[hash_bytes(wire, wire_len(wire), 0) & h->mask];
        h->hosts[i].next = *bucket;
        *bucket = i;
    }
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* The length of the word at *at, after the space before it. */
static size_t next_word(const char **at, const char *end)
{
    while (*at < end && is_space(**at))
        ++*at;
    const char *stop = *at;
    while (stop < end && !is_space(*stop))
        stop++;
    return (size_t)(stop - *at);
}

static int parse_address(uint8_t ip[static 16], const char *word, size_t len)
{
    char text[INET6_ADDRSTRLEN];
    if (len == 0 || len >= sizeof(text))
        return 0;
    memcpy(text, word, len);
    text[len] = '\0';
    if (inet_pton(AF_INET, text, ip) == 1)
        return 4;
    return inet_pton(AF_INET6, text, ip) == 1 ? 6 : 0;
}

static void parse_line(hosts *h, const char *at, const char *end)
{
    uint8_t ip[16], wire[NAME_MAX_WIRE];
    const char *comment = memchr(at, '#', (size_t)(end - at));
    if (comment)
        end = comment;
    size_t len = next_word(&at, end);
    int family = parse_address(ip, at, len);
    if (!family)
        return;
    for (at += len; (len = next_word(&at, end)); at += len) {
        int n = name_from_text(wire, at, len);
        if (n > 1)
            add(h, family, ip, wire, (size_t)n);
    }
}

void hosts_parse(hosts *h, const char *text, size_t len)
{
    const char *end = len ? text + len : text; /* NULL is an empty text, too */
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        const char *stop = newline ? newline : end;
        parse_line(h, text, stop);
        text = stop + 1;
    }
    make_buckets(h);
}

/* --- finding ------------------------------------------------------------------------------- */

/* What an address is in a family: itself, or for IPv4 also a part of an IPv6 address. */
static const uint8_t *as_family(const host *one, int family)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    static const uint8_t loopback6[16] = {[15] = 1};
    static const uint8_t loopback4[4] = {127, 0, 0, 1};

    if (!family || one->family == family)
        return one->ip;
    if (family == 6)
        return NULL;
    if (memcmp(one->ip, mapped, sizeof(mapped)) == 0)
        return one->ip + sizeof(mapped);
    return memcmp(one->ip, loopback6, sizeof(loopback6)) == 0 ? loopback4 : NULL;
}

static bool has(const answer *a, int family, const uint8_t *ip)
{
    char text[INET6_ADDRSTRLEN];
    inet_ntop(family == 6 ? AF_INET6 : AF_INET, ip, text, sizeof(text));
    size_t len = strlen(text);
    for (int i = 0; i < a->public.count; i++) {
        const links_dns_record *r = &a->records[i];
        if (r->len[0] == len && memcmp(a->text + (uintptr_t)r->text[0], text, len) == 0)
            return true;
    }
    return false;
}

void hosts_find(const hosts *h, const uint8_t *wire, int family, answer *a)
{
    if (!h->buckets)
        return;
    size_t len = wire_len(wire);
    for (uint32_t i = h->buckets[hash_bytes(wire, len, 0) & h->mask]; i; i = h->hosts[i].next) {
        const host *one = &h->hosts[i];
        /* A name ends where its bytes do: a longer one differs before that. */
        if (h->names_len - one->name < len || memcmp(h->names + one->name, wire, len) != 0)
            continue;
        const uint8_t *ip = as_family(one, family);
        int is = family ? family : one->family;
        if (ip && a->public.count < HOSTS_MAX_ADDRESSES && !has(a, is, ip))
            answer_add_address(a, is, ip, 0);
    }
}

void hosts_find_names(const hosts *h, int family, const uint8_t *ip, answer *a)
{
    char text[NAME_MAX_TEXT];
    for (uint32_t i = 1; i <= h->count; i++) {
        const host *one = &h->hosts[i];
        if (one->family != family || memcmp(one->ip, ip, family == 6 ? 16 : 4) != 0)
            continue;
        if (a->public.count == HOSTS_MAX_ADDRESSES)
            return;
        answer_add(a, DNS_PTR, 0);
        answer_add_text(a, 0, text, name_to_text(text, h->names + one->name));
    }
}
