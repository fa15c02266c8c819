#include "sort.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "modules/net/sock.h"

enum { ANY_PORT = 53, SCOPE_LINK = 2, SCOPE_SITE = 5, SCOPE_GLOBAL = 14 };

typedef struct candidate {
    uint8_t to[16], from[16]; /* IPv4 as mapped addresses */
    int family;
    bool usable;
    int scope, label, precedence;
    int from_scope, from_label;
    int common; /* bits that both begin with */
} candidate;

/* RFC 6724, 2.1, the longest prefix first. */
static const struct policy {
    uint8_t prefix[16];
    int bits, precedence, label;
} policies[] = {
    {{[15] = 1}, 128, 50, 0},  {{[10] = 0xff, 0xff}, 96, 35, 4},
    {{0}, 96, 1, 3},           {{0x20, 0x01}, 32, 5, 5},
    {{0x20, 0x02}, 16, 30, 2}, {{0x3f, 0xfe}, 16, 1, 12},
    {{0xfe, 0xc0}, 10, 1, 11}, {{0xfc}, 7, 3, 13},
    {{0}, 0, 40, 1},
};

static int common_bits(const uint8_t *a, const uint8_t *b)
{
    for (int i = 0; i < 16; i++) {
        unsigned differ = a[i] ^ b[i];
        if (differ)
            return i * 8 + __builtin_clz(differ) - 24;
    }
    return 128;
}

static const struct policy *policy_of(const uint8_t *ip)
{
    const struct policy *p = policies;
    while (common_bits(ip, p->prefix) < p->bits)
        p++;
    return p;
}

/* RFC 6724, 3.1 and 3.2. */
static int scope_of(const uint8_t *ip, int family)
{
    static const uint8_t loopback[16] = {[15] = 1};
    if (family == 4)
        return ip[12] == 127 || (ip[12] == 169 && ip[13] == 254) ? SCOPE_LINK : SCOPE_GLOBAL;
    if (ip[0] == 0xff)
        return ip[1] & 15;
    if (memcmp(ip, loopback, 16) == 0 || (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80))
        return SCOPE_LINK;
    return ip[0] == 0xfe && (ip[1] & 0xc0) == 0xc0 ? SCOPE_SITE : SCOPE_GLOBAL;
}

static void map(uint8_t ip[static 16], const address *a)
{
    if (a->family == 6) {
        memcpy(ip, a->ip, 16);
        return;
    }
    memset(ip, 0, 10);
    ip[10] = ip[11] = 0xff;
    memcpy(ip + 12, a->ip, 4);
}

static void make_candidate(candidate *c, const address *to, sort_source *source)
{
    address from;
    memset(c, 0, sizeof(*c));
    map(c->to, to);
    c->family = to->family;
    c->scope = scope_of(c->to, c->family);
    c->label = policy_of(c->to)->label;
    c->precedence = policy_of(c->to)->precedence;
    c->usable = source(to, &from);
    if (!c->usable)
        return;
    map(c->from, &from);
    c->from_scope = scope_of(c->from, from.family);
    c->from_label = policy_of(c->from)->label;
    c->common = common_bits(c->from, c->to);
}

/* Whether `a` is to be tried before `b`: the rules, by their numbers. */
static bool is_before(const candidate *a, const candidate *b)
{
    if (a->usable != b->usable) /* 1 */
        return a->usable;
    bool a_scope = a->from_scope == a->scope, b_scope = b->from_scope == b->scope;
    if (a->usable && a_scope != b_scope) /* 2 */
        return a_scope;
    bool a_label = a->from_label == a->label, b_label = b->from_label == b->label;
    if (a->usable && a_label != b_label) /* 5 */
        return a_label;
    if (a->precedence != b->precedence) /* 6 */
        return a->precedence > b->precedence;
    if (a->scope != b->scope) /* 8 */
        return a->scope < b->scope;
    /* 9, for IPv6 alone: with IPv4 it would undo the servers' taking turns. */
    return a->usable && a->family == 6 && b->family == 6 && a->common > b->common;
}

void sort_addresses(const address *at, int count, uint8_t order[static SORT_MAX],
                    sort_source *source)
{
    candidate candidates[SORT_MAX];
    for (int i = 0; i < count; i++) {
        make_candidate(&candidates[i], &at[i], source);
        int k = i;
        for (; k > 0 && is_before(&candidates[i], &candidates[order[k - 1]]); k--)
            order[k] = order[k - 1];
        order[k] = (uint8_t)i;
    }
}

/* Connecting a datagram socket sends nothing and chooses the address to send from. */
bool sort_source_of_system(const address *to, address *from)
{
    struct sockaddr_storage ss;
    address target = *to;
    target.port = ANY_PORT;
    int fd = sock_open(to->family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM);
    if (fd < 0)
        return false;
    socklen_t len = address_to_sockaddr(&target, &ss);
    bool ok = connect(fd, (struct sockaddr *)&ss, len) == 0;
    len = sizeof(ss);
    ok = ok && getsockname(fd, (struct sockaddr *)&ss, &len) == 0;
    close(fd);
    if (ok)
        address_from_sockaddr(from, &ss);
    return ok;
}
