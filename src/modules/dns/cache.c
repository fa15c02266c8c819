#include "cache.h"

#include <string.h>

#include "base/mem.h"
#include "hash.h"

enum { BUCKETS = 4096, MS_PER_S = 1000 };

struct cache_entry {
    list used;
    cache_entry *next; /* of its bucket */
    answer *answer;
    int64_t until_ms;
    size_t bytes;
    question question; /* the last member: its name is cut to its length */
};

bool question_init(question *q, int servers, const char *name, size_t len, int type)
{
    q->wire_len = name_from_text(q->wire, name, len);
    if (q->wire_len < 0)
        return false;
    q->type = type;
    q->servers = servers;
    q->hash = hash_bytes(q->wire, (size_t)q->wire_len, (uint32_t)(type << 16 ^ servers));
    return true;
}

bool question_equal(const question *a, const question *b)
{
    return a->hash == b->hash && a->type == b->type && a->servers == b->servers &&
           a->wire_len == b->wire_len && memcmp(a->wire, b->wire, (size_t)a->wire_len) == 0;
}

void cache_init(cache *c)
{
    *c = (cache){
        .max_count = CACHE_MAX_COUNT,
        .max_ttl = CACHE_MAX_TTL,
        .max_negative_ttl = CACHE_MAX_NEGATIVE_TTL,
    };
    list_init(&c->used);
}

static void drop(cache *c, cache_entry *e)
{
    cache_entry **at = &c->buckets[e->question.hash % BUCKETS];
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    list_remove(&e->used);
    c->count--;
    c->bytes -= e->bytes;
    if (c->loop)
        answer_unref_later(e->answer, c->loop);
    else
        answer_unref(e->answer);
    mem_free(e);
}

int cache_clear(cache *c, const uint8_t *wire, int wire_len)
{
    int n = 0;
    for (list *l = c->used.next; l != &c->used;) {
        cache_entry *e = CONTAINER_OF(l, cache_entry, used);
        l = l->next;
        if (wire && (e->question.wire_len != wire_len ||
                     memcmp(e->question.wire, wire, (size_t)wire_len) != 0))
            continue;
        drop(c, e);
        n++;
    }
    return n;
}

void cache_deinit(cache *c)
{
    cache_clear(c, NULL, 0);
    mem_free(c->buckets);
    c->buckets = NULL;
}

static cache_entry *find(cache *c, const question *q)
{
    if (!c->buckets)
        return NULL;
    cache_entry *e = c->buckets[q->hash % BUCKETS];
    while (e && !question_equal(&e->question, q))
        e = e->next;
    return e;
}

answer *cache_get(cache *c, const question *q, int64_t now_ms)
{
    cache_entry *e = find(c, q);
    if (!e)
        return NULL;
    if (e->until_ms <= now_ms) {
        drop(c, e);
        return NULL;
    }
    if (c->used.next != &e->used) {
        list_remove(&e->used);
        list_push_front(&c->used, &e->used);
    }
    return e->answer;
}

static double clamp(double ttl, double min, double max)
{
    if (ttl < min)
        ttl = min;
    return ttl > max ? max : ttl;
}

void cache_put(cache *c, const question *q, answer *a, int64_t now_ms)
{
    double ttl = a->ttl;
    /* A negative answer without a TTL is one that must not be kept (RFC 2308, 5). */
    if (a->public.status)
        ttl = clamp(ttl, 0, c->max_negative_ttl);
    else
        ttl = clamp(ttl, c->min_ttl, c->max_ttl);
    cache_entry *e = find(c, q);
    if (e)
        drop(c, e);
    if (ttl <= 0 || c->max_count < 1)
        return;

    size_t size = offsetof(cache_entry, question) + sizeof(question);
    if (!c->buckets)
        c->buckets = mem_zalloc(BUCKETS * sizeof(*c->buckets));
    e = mem_alloc(size);
    e->answer = answer_ref(a);
    e->until_ms = now_ms + (int64_t)(ttl * MS_PER_S);
    e->bytes = size + a->size;
    e->question = *q;
    cache_entry **bucket = &c->buckets[q->hash % BUCKETS];
    e->next = *bucket;
    *bucket = e;
    list_push_front(&c->used, &e->used);
    c->count++;
    c->bytes += e->bytes;
    cache_trim(c);
}

void cache_trim(cache *c)
{
    while (c->count > c->max_count || c->bytes > CACHE_MAX_BYTES)
        drop(c, CONTAINER_OF(c->used.prev, cache_entry, used));
}
