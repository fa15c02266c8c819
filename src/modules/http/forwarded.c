/*
 * A proxy sets one kind of field and passes on what its client has put into the other. So the one
 * that is not the proxy's is never looked at, not even where the proxy's is missing. What is said
 * is believed from the nearest hop outwards, for as long as each is
 * trusted. */
#include "forwarded.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "server.h"

enum {
    HOPS_MAX = 65, /* of which the nearest are looked at */
    NODE_MAX = 64,
};

/* The last elements of a list: what is further out does not count. */
typedef struct hops {
    http_slice list[HOPS_MAX];
    uint32_t count;
} hops;

/* --- whom the server trusts ------------------------------------------------------------------- */

int links_http_trust(links_http_server *ls, const char *text)
{
    http_server *s = (http_server *)ls;
    network n;
    if (strcmp(text, "unix:") == 0) {
        s->trusts_unix = true;
        return 0;
    }
    int rc = network_parse(&n, text);
    if (rc < 0)
        return rc;
    s->trusted = mem_realloc(s->trusted, (size_t)(s->ntrusted + 1) * sizeof(n));
    s->trusted[s->ntrusted++] = n;
    return 0;
}

void links_http_trust_forwarded(links_http_server *ls) { ((http_server *)ls)->by_forwarded = true; }

static bool is_trusted(const http_server *s, const address *a)
{
    if (!a->family)
        return s->trusts_unix;
    for (int i = 0; i < s->ntrusted; i++)
        if (network_has(&s->trusted[i], a))
            return true;
    return false;
}

/* --- lists ------------------------------------------------------------------------------------ */

/* Empty elements are none (RFC 9110, 5.6.1). */
static void add(hops *h, const char *at, const char *end)
{
    while (at < end && http_is_blank(*at))
        at++;
    while (end > at && http_is_blank(end[-1]))
        end--;
    if (at < end)
        h->list[h->count++ % HOPS_MAX] = (http_slice){at, (size_t)(end - at)};
}

/* The elements of all fields of a name, in which a quoted comma ends nothing. */
static void read_list(const http_request *r, hops *h, const char *name, bool quotes)
{
    const char *base = http_request_base(r);
    size_t len = strlen(name);
    h->count = 0;
    for (int i = -1; (i = http_head_find(&r->head, base, name, len, i)) >= 0;) {
        const char *at = base + r->head.fields[i].value, *end = at + r->head.fields[i].value_len;
        const char *from = at;
        bool quoted = false;
        for (; at < end; at++) {
            if (*at == '"' && quotes) {
                quoted = !quoted;
            } else if (*at == ',' && !quoted) {
                add(h, from, at);
                from = at + 1;
            }
        }
        add(h, from, end);
    }
}

/* The nth element from the end; nothing beyond those that are kept. */
static http_slice nearest(const hops *h, uint32_t nth)
{
    if (nth >= h->count || nth >= HOPS_MAX)
        return (http_slice){NULL, 0};
    return h->list[(h->count - 1 - nth) % HOPS_MAX];
}

/* The value of `for="[2001:db8::1]:80";proto=https` (RFC 7239, 4); the last one of that name. */
static http_slice pair_of(http_slice element, const char *name)
{
    http_slice found = {NULL, 0};
    const char *at = element.data, *end = at + element.len;
    for (;;) {
        while (at < end && (http_is_blank(*at) || *at == ';'))
            at++;
        const char *word = at;
        while (at < end && http_is_token((unsigned char)*at))
            at++;
        if (at == word || at == end || *at != '=')
            return found;
        size_t len = (size_t)(at++ - word);
        bool quoted = at < end && *at == '"';
        const char *value = at += quoted;
        while (at < end && *at != '"' && (quoted ? *at != '\\' : *at != ';' && !http_is_blank(*at)))
            at++;
        bool good = !quoted || (at < end && *at == '"');
        if (http_equals(word, len, name, strlen(name)))
            found = (http_slice){value, good ? (size_t)(at - value) : 0};
        if (!good)
            return found;
        at += quoted;
    }
}

/* --- nodes ------------------------------------------------------------------------------------ */

static int parse_port(const char *s)
{
    int port = 0;
    do {
        if (*s < '0' || *s > '9' || port > 6553)
            return -EINVAL;
        port = port * 10 + (*s - '0');
    } while (*++s);
    return port < 65536 ? port : -EINVAL;
}

/* "192.0.2.1", "192.0.2.1:80", "2001:db8::1" or "[2001:db8::1]:80". -EINVAL for what is none
 * ("unknown", "_hidden"). */
static int parse_node(address *out, http_slice node)
{
    char text[NODE_MAX], *host = text, *port = NULL;
    if (!node.data || node.len >= sizeof(text) || memchr(node.data, '\0', node.len))
        return -EINVAL;
    memcpy(text, node.data, node.len);
    text[node.len] = '\0';
    char *colon = strchr(text, ':');
    if (*text == '[') {
        char *end = strchr(text, ']');
        if (!end || (end[1] && end[1] != ':'))
            return -EINVAL;
        port = end[1] && end[2] ? end + 2 : NULL;
        *end = '\0';
        host++;
    } else if (colon && !strchr(colon + 1, ':')) {
        port = colon + 1;
        *colon = '\0';
    }
    int number = port ? parse_port(port) : 0;
    return number < 0 ? number : address_parse(out, host, number);
}

/* --- clients ---------------------------------------------------------------------------------- */

/* What one hop says; false where it is the last that is believed. */
static bool take_hop(const http_server *s, http_client *c, http_slice node, http_slice scheme,
                     http_slice host)
{
    address at;
    if (scheme.data)
        c->scheme = scheme;
    if (host.data)
        c->host = host;
    if (parse_node(&at, node) < 0)
        return false;
    c->at = at;
    return is_trusted(s, &at);
}

static void by_forwarded(const http_server *s, const http_request *r, http_client *c)
{
    hops all;
    read_list(r, &all, "forwarded", true);
    for (uint32_t i = 0; i < HOPS_MAX && i < all.count; i++) {
        http_slice hop = nearest(&all, i);
        if (!take_hop(s, c, pair_of(hop, "for"), pair_of(hop, "proto"), pair_of(hop, "host")))
            return;
    }
}

/* Protocol and host are often one for a whole chain: then they are what the nearest has said. */
static http_slice matching(const hops *h, const hops *nodes, uint32_t nth)
{
    return nearest(h, h->count == nodes->count ? nth : 0);
}

static void by_x_forwarded(const http_server *s, const http_request *r, http_client *c)
{
    hops nodes, schemes, hosts;
    read_list(r, &nodes, "x-forwarded-for", false);
    read_list(r, &schemes, "x-forwarded-proto", false);
    read_list(r, &hosts, "x-forwarded-host", false);
    uint32_t count = nodes.count ? nodes.count : 1; /* a proxy may say nothing of its client */
    for (uint32_t i = 0; i < HOPS_MAX && i < count; i++)
        if (!take_hop(s, c, nearest(&nodes, i), matching(&schemes, &nodes, i),
                      matching(&hosts, &nodes, i)))
            return;
}

void http_client_of(const http_request *r, http_client *c)
{
    const http_server *s = r->conn->server;
    *c = (http_client){.at = r->conn->peer};
    if ((!s->ntrusted && !s->trusts_unix) || !is_trusted(s, &c->at))
        return;
    if (s->by_forwarded)
        by_forwarded(s, r, c);
    else
        by_x_forwarded(s, r, c);
}

void links_http_client_of(const links_http_req *r, links_http_client *out)
{
    http_client c;
    http_client_of((const http_request *)r, &c);
    out->place = (links_http_place){.family = c.at.family, .port = c.at.port};
    out->place.len = address_format(&c.at, out->place.text);
    out->scheme = c.scheme.data;
    out->scheme_len = (int)c.scheme.len;
    out->host = c.host.data;
    out->host_len = (int)c.host.len;
}
