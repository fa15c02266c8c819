/*
 * The resolver of the process: made at its first use, so that a program that resolves nothing pays
 * nothing.
 */
#include "dns.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "conf.h"
#include "file.h"
#include "hosts.h"
#include "query.h"
#include "resolver.h"
#include "sort.h"

enum { CHECK_MS = 1000 }; /* between two looks at the files */

typedef struct resolver {
    net *net;
    queries queries;
    cache cache;
    server_lists lists;
    servers *from_conf, *chosen; /* the default ones: of resolv.conf, of setServers */
    conf conf;
    hosts hosts;
    char *hosts_path, *conf_path;
    file_stamp hosts_stamp, conf_stamp;
    bool loaded;
    int64_t checked_ms;
    int generation;
    links_dns_stats stats;
    answer *local; /* what links_dns_local says */
} resolver;

static resolver *the;

static char *copy(const char *text)
{
    size_t len = strlen(text) + 1;
    return memcpy(mem_alloc(len), text, len);
}

static char *path_from(const char *variable, const char *otherwise)
{
    const char *path = getenv(variable);
    return copy(path && *path ? path : otherwise);
}

static resolver *get(void)
{
    if (the)
        return the;
    the = mem_new(resolver);
    the->net = net_open(sched_loop());
    cache_init(&the->cache);
    the->cache.loop = the->net->loop;
    servers_init(&the->lists);
    hosts_init(&the->hosts);
    queries_open(&the->queries, the->net, &the->cache, &the->stats);
    the->hosts_path = path_from("LINKS_HOSTS", "/etc/hosts");
    the->conf_path = path_from("LINKS_RESOLV_CONF", "/etc/resolv.conf");
    the->local = answer_new(0);
    return the;
}

void dns_close(void)
{
    if (!the)
        return;
    queries_close(&the->queries);
    cache_deinit(&the->cache);
    servers_deinit(&the->lists);
    hosts_deinit(&the->hosts);
    answer_unref(the->local);
    mem_free(the->hosts_path);
    mem_free(the->conf_path);
    net_close(the->net);
    mem_free(the);
    the = NULL;
}

void dns_print_version(void) { printf("c-ares %s\n", channel_library_version()); }

/* --- the files ----------------------------------------------------------------------------- */

/* Answers of other servers may be other ones, those of the servers of another network. */
static void use(resolver *r, servers **place, servers *s)
{
    if (*place == s)
        return;
    if (*place)
        (*place)->users--;
    *place = s;
    if (s)
        s->users++;
    cache_clear(&r->cache, NULL, 0);
}

static void load_conf(resolver *r)
{
    size_t len;
    char *text = file_read(r->conf_path, CONF_MAX_FILE, &len);
    conf_init(&r->conf);
    if (text)
        conf_parse(&r->conf, text, len);
    mem_free(text);
    conf_environment(&r->conf);
    servers *s = servers_get(&r->lists, r->conf.servers, r->conf.nservers);
    if (s) {
        s->rotate = r->conf.rotate;
        use(r, &r->from_conf, s);
    }
}

static void load_hosts(resolver *r)
{
    size_t len;
    char *text = file_read(r->hosts_path, HOSTS_MAX_FILE, &len);
    hosts_deinit(&r->hosts);
    if (text)
        hosts_parse(&r->hosts, text, len);
    mem_free(text);
}

int links_dns_refresh(void)
{
    resolver *r = get();
    int64_t now = ev_now_ms(r->net->loop);
    if (r->loaded && now - r->checked_ms < CHECK_MS)
        return r->generation;
    r->checked_ms = now;
    bool conf_is_new = file_changed(r->conf_path, &r->conf_stamp);
    bool hosts_are_new = file_changed(r->hosts_path, &r->hosts_stamp);
    if (conf_is_new || !r->loaded)
        load_conf(r);
    if (hosts_are_new || !r->loaded)
        load_hosts(r);
    if (conf_is_new || hosts_are_new || !r->loaded)
        r->generation++;
    r->loaded = true;
    return r->generation;
}

static resolver *loaded(void)
{
    resolver *r = get();
    if (!r->loaded)
        links_dns_refresh();
    return r;
}

const links_dns_conf *links_dns_conf_now(void) { return &loaded()->conf.public; }

const char *links_dns_search(int i)
{
    const conf *c = &loaded()->conf;
    return i >= 0 && i < c->public.nsearch ? c->search[i] : NULL;
}

void links_dns_setup_now(const links_dns_setup *setup)
{
    resolver *r = get();
    if (setup->hosts) {
        mem_free(r->hosts_path);
        r->hosts_path = copy(setup->hosts);
    }
    if (setup->resolv_conf) {
        mem_free(r->conf_path);
        r->conf_path = copy(setup->resolv_conf);
    }
    if (setup->hosts || setup->resolv_conf)
        r->loaded = false;
    if (setup->cache_size >= 0)
        r->cache.max_count = setup->cache_size;
    if (setup->min_ttl >= 0)
        r->cache.min_ttl = setup->min_ttl;
    if (setup->max_ttl >= 0)
        r->cache.max_ttl = setup->max_ttl;
    if (setup->max_negative_ttl >= 0)
        r->cache.max_negative_ttl = setup->max_negative_ttl;
    cache_trim(&r->cache);
}

/* --- what is known without asking ----------------------------------------------------------- */

/* A literal address; 0 where it is none. */
static int literal(const char *name, size_t len, uint8_t ip[static 16])
{
    char text[INET6_ADDRSTRLEN];
    if (len == 0 || len >= sizeof(text) || memchr(name, 0, len))
        return 0;
    memcpy(text, name, len);
    text[len] = '\0';
    if (inet_pton(AF_INET, text, ip) == 1)
        return 4;
    return inet_pton(AF_INET6, text, ip) == 1 ? 6 : 0;
}

/* "localhost" and what ends in ".localhost": RFC 6761, 6.3. */
static bool is_localhost(const uint8_t *wire, int len)
{
    static const uint8_t localhost[] = "\011localhost";
    if (len < (int)sizeof(localhost) ||
        memcmp(wire + len - sizeof(localhost), localhost, sizeof(localhost)) != 0)
        return false;
    const uint8_t *end = wire + len - sizeof(localhost);
    while (wire < end)
        wire += *wire + 1;
    return wire == end;
}

static void add_loopback(answer *a, int family)
{
    static const uint8_t loopback6[16] = {[15] = 1};
    static const uint8_t loopback4[4] = {127, 0, 0, 1};
    if (family != 4)
        answer_add_address(a, 6, loopback6, 0);
    if (family != 6)
        answer_add_address(a, 4, loopback4, 0);
}

const links_dns_answer *links_dns_local(const char *name, size_t len, int family)
{
    resolver *r = loaded();
    uint8_t ip[16], wire[NAME_MAX_WIRE];
    answer *a = r->local;

    answer_reset(a, 0);
    int is = literal(name, len, ip);
    if (is) {
        if (family && is != family) {
            answer_reset(a, DNS_ENODATA);
        } else {
            answer_add(a, is == 6 ? DNS_AAAA : DNS_A, 0);
            answer_add_text(a, 0, name, len);
        }
        answer_finish(a);
        return &a->public;
    }
    int wire_len = name_from_text(wire, name, len);
    if (wire_len <= 1) {
        answer_reset(a, DNS_EBADNAME);
        return &a->public;
    }
    hosts_find(&r->hosts, wire, family, a);
    if (!a->public.count && is_localhost(wire, wire_len))
        add_loopback(a, family);
    if (!a->public.count)
        return NULL;
    answer_finish(a);
    return &a->public;
}

static bool is_loopback(int family, const uint8_t *ip)
{
    static const uint8_t loopback6[16] = {[15] = 1};
    return family == 4 ? ip[0] == 127 : memcmp(ip, loopback6, 16) == 0;
}

const links_dns_answer *links_dns_local_names(const char *ip_text)
{
    resolver *r = loaded();
    uint8_t ip[16];
    answer *a = r->local;
    int family = literal(ip_text, strlen(ip_text), ip);
    if (!family)
        return NULL;
    answer_reset(a, 0);
    hosts_find_names(&r->hosts, family, ip, a);
    if (!a->public.count && is_loopback(family, ip)) {
        answer_add(a, DNS_PTR, 0);
        answer_add_text(a, 0, "localhost", strlen("localhost"));
    }
    answer_finish(a);
    return a->public.count ? &a->public : NULL;
}

int links_dns_arpa(const char *ip_text, char name[80])
{
    uint8_t ip[16];
    int len = 0, family = literal(ip_text, strlen(ip_text), ip);
    if (family == 4)
        return snprintf(name, 80, "%d.%d.%d.%d.in-addr.arpa", ip[3], ip[2], ip[1], ip[0]);
    if (family == 6) {
        for (int i = 15; i >= 0; i--)
            len += snprintf(name + len, 80 - (size_t)len, "%x.%x.", ip[i] & 15, ip[i] >> 4);
        len += snprintf(name + len, 80 - (size_t)len, "ip6.arpa");
    }
    return len;
}

/* --- servers ------------------------------------------------------------------------------- */

static servers *servers_for(resolver *r, int id)
{
    if (id)
        return servers_find(&r->lists, id);
    return r->chosen ? r->chosen : r->from_conf;
}

int links_dns_servers(const char *list)
{
    servers *s;
    int rc = servers_parse(&get()->lists, list, &s);
    return rc < 0 ? rc : s->id;
}

const char *links_dns_servers_text(int id)
{
    const servers *s = servers_for(loaded(), id);
    return s ? s->text : "";
}

void links_dns_servers_default(int id)
{
    resolver *r = loaded();
    use(r, &r->chosen, id ? servers_find(&r->lists, id) : NULL);
}

/* --- asking -------------------------------------------------------------------------------- */

const links_dns_answer *links_dns_cached(int id, const char *name, size_t len, int type)
{
    resolver *r = loaded();
    question q;
    if (!id && servers_for(r, 0))
        id = servers_for(r, 0)->id;
    if (!question_init(&q, id, name, len, type))
        return NULL;
    answer *a = cache_get(&r->cache, &q, ev_now_ms(r->net->loop));
    if (a)
        r->stats.hits++;
    else
        r->stats.misses++;
    return a ? &a->public : NULL;
}

int links_dns_status(const links_dns_answer *a) { return a->status; }

double links_dns_age(const links_dns_answer *a)
{
    const answer *whole = CONTAINER_OF(a, answer, public);
    return whole->at_ms ? (double)(ev_now_ms(get()->net->loop) - whole->at_ms) / 1000 : 0;
}

links_dns_ask *links_dns_ask_new(void)
{
    links_dns_ask *ask = mem_new(links_dns_ask);
    waitq_init(&ask->waiters);
    for (int i = 0; i < ASK_PARTS; i++)
        list_init(&ask->parts[i].link);
    return ask;
}

static void release_ask(ev_release *release)
{
    links_dns_ask *ask = CONTAINER_OF(release, links_dns_ask, release);
    for (int i = 0; i < ASK_PARTS; i++)
        answer_unref(ask->parts[i].answer);
    mem_free(ask);
}

void links_dns_ask_free(links_dns_ask *ask)
{
    waitq_wake_all(&ask->waiters, LINKS_CLOSED);
    for (int i = 0; i < ASK_PARTS; i++)
        list_remove(&ask->parts[i].link);
    ev_release_later(sched_loop(), &ask->release, release_ask);
}

int links_dns_ask_start(links_dns_ask *ask, int id, const char *name, size_t len, int type,
                        int timeout_ms, int tries)
{
    resolver *r = loaded();
    question q;
    servers *s = servers_for(r, id);
    if (!s || ask->count == ASK_PARTS)
        return DNS_ENOSERVER;
    if (!question_init(&q, s->id, name, len, type))
        return DNS_EBADNAME;
    return queries_ask(&r->queries, ask, &q, s, timeout_ms ? timeout_ms : r->conf.public.timeout_ms,
                       tries ? tries : r->conf.public.tries);
}

int links_dns_ask_wait(links_dns_ask *ask, int want, int timeout_ms)
{
    if (ask->done >= want || ask->done == ask->count)
        return 0;
    return sched_park(&ask->waiters, timeout_ms, SCHED_IO, "dns");
}

const links_dns_answer *links_dns_ask_answer(const links_dns_ask *ask, int i)
{
    const answer *a = i >= 0 && i < ask->count ? ask->parts[i].answer : NULL;
    return a ? &a->public : NULL;
}

/* --- the rest ------------------------------------------------------------------------------ */

int links_dns_order(const char *list, uint8_t order[64])
{
    address at[SORT_MAX];
    int count = 0;
    while (*list && count < SORT_MAX) {
        char text[ADDRESS_TEXT_MAX];
        size_t len = strcspn(list, " ");
        if (len >= sizeof(text))
            break;
        memcpy(text, list, len);
        text[len] = '\0';
        if (address_parse(&at[count], text, 0) < 0)
            break;
        count++;
        list += len + (list[len] == ' ');
    }
    sort_addresses(at, count, order, sort_source_of_system);
    return count;
}

int links_dns_clear(const char *name, size_t len)
{
    resolver *r = get();
    uint8_t wire[NAME_MAX_WIRE];
    if (!name)
        return cache_clear(&r->cache, NULL, 0);
    int wire_len = name_from_text(wire, name, len);
    return wire_len < 0 ? 0 : cache_clear(&r->cache, wire, wire_len);
}

void links_dns_stats_now(links_dns_stats *stats)
{
    resolver *r = get();
    *stats = r->stats;
    stats->cached = r->cache.count;
    stats->bytes = (double)r->cache.bytes;
    stats->pending = r->queries.pending;
}
