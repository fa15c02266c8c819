/*
 * Topics: who gets what is published. They are the process's: connections of all hubs meet there,
 * and what is published in a worker reaches the others through the bus.
 * A published message is encoded once, and compressed at most once; every receiver's output refers
 * to that one frame, and what a turn publishes leaves in one write per receiver.
 */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "bus.h"
#include "conn.h"
#include "members.h"

enum { NAME_MAX_LEN = 255, BUCKETS_FIRST = 64 };

typedef struct topic topic;

struct topic {
    topic *next; /* in its bucket */
    list link;   /* in patterns, where the name ends in "*" */
    list subs;
    uint32_t hash, count;
    uint8_t len;
    bool pattern;
    char name[];
};

typedef struct sub {
    list of_topic, of_ws;
    topic *topic;
    ws *ws;
    uint16_t member_len;
    char member[]; /* who it is, as the program has it */
} sub;

static topic **buckets;
static uint32_t nbuckets, ntopics;
static list patterns = {&patterns, &patterns};
static uint32_t stamp; /* of the last publish */

/* --- names ----------------------------------------------------------------------------------- */

static uint32_t hash(const char *name, size_t len)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)name[i]) * 16777619u;
    return h ^ h >> 15;
}

static topic *find(const char *name, size_t len)
{
    if (!nbuckets)
        return NULL;
    uint32_t h = hash(name, len);
    topic *t = buckets[h & (nbuckets - 1)];
    while (t && (t->hash != h || t->len != len || memcmp(t->name, name, len) != 0))
        t = t->next;
    return t;
}

static void grow(void)
{
    uint32_t size = nbuckets ? nbuckets * 2 : BUCKETS_FIRST;
    topic **all = mem_zalloc(size * sizeof(*all));
    for (uint32_t i = 0; i < nbuckets; i++) {
        for (topic *t = buckets[i], *next; t; t = next) {
            next = t->next;
            t->next = all[t->hash & (size - 1)];
            all[t->hash & (size - 1)] = t;
        }
    }
    mem_free(buckets);
    buckets = all;
    nbuckets = size;
}

static topic *make(const char *name, size_t len)
{
    if (ntopics >= nbuckets)
        grow();
    topic *t = mem_zalloc(sizeof(*t) + len);
    t->hash = hash(name, len);
    t->len = (uint8_t)len;
    memcpy(t->name, name, len);
    list_init(&t->subs);
    list_init(&t->link);
    t->pattern = len && name[len - 1] == '*';
    if (t->pattern)
        list_push_back(&patterns, &t->link);
    t->next = buckets[t->hash & (nbuckets - 1)];
    buckets[t->hash & (nbuckets - 1)] = t;
    ntopics++;
    ws_counts.topics++;
    return t;
}

/* Nobody is subscribed to it any more. */
static void forget(topic *t)
{
    topic **at = &buckets[t->hash & (nbuckets - 1)];
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    list_remove(&t->link);
    mem_free(t);
    ws_counts.topics--;
    if (--ntopics)
        return;
    mem_free(buckets);
    buckets = NULL;
    nbuckets = 0;
}

/* --- subscriptions --------------------------------------------------------------------------- */

static sub *find_sub(const ws *w, const char *name, size_t len)
{
    for (list *l = w->subs.next; l != &w->subs; l = l->next) {
        sub *s = CONTAINER_OF(l, sub, of_ws);
        if (s->topic->len == len && memcmp(s->topic->name, name, len) == 0)
            return s;
    }
    return NULL;
}

static void end_sub(sub *s)
{
    topic *t = s->topic;
    s->ws->nsubs--;
    ws_counts.subscriptions--;
    list_remove(&s->of_ws);
    list_remove(&s->of_topic);
    bus_unsubscribed(t->name, t->len);
    members_changed(BUS_LEAVE, t->name, t->len, s->ws, s->member, s->member_len);
    mem_free(s);
    if (--t->count == 0)
        forget(t);
}

int links_ws_subscribe(links_ws *lw, const char *name, size_t len, const char *member,
                       size_t member_len)
{
    ws *w = ws_of(lw);
    if (lw->closed)
        return LINKS_WS_CLOSED;
    if (len > NAME_MAX_LEN || member_len > LINKS_WS_MEMBER_MAX)
        return LINKS_TOO_LARGE;
    if (find_sub(w, name, len))
        return 0;
    if (w->nsubs >= WS_TOPICS_MAX)
        return LINKS_FULL;
    int rc = bus_is_on() ? bus_join() : 0;
    if (rc < 0)
        return rc;
    topic *t = find(name, len);
    if (!t)
        t = make(name, len);
    sub *s = mem_alloc(sizeof(*s) + member_len);
    s->topic = t;
    s->ws = w;
    s->member_len = (uint16_t)member_len;
    memcpy(s->member, member, member_len);
    list_push_back(&t->subs, &s->of_topic);
    list_push_back(&w->subs, &s->of_ws);
    t->count++;
    w->nsubs++;
    ws_counts.subscriptions++;
    if (bus_is_on())
        bus_subscribed(name, len);
    members_changed(BUS_JOIN, name, len, w, member, member_len);
    return 1;
}

int links_ws_unsubscribe(links_ws *lw, const char *name, size_t len)
{
    sub *s = find_sub(ws_of(lw), name, len);
    if (s)
        end_sub(s);
    return s != NULL;
}

void ws_unsubscribe_all(ws *w)
{
    while (!list_empty(&w->subs))
        end_sub(CONTAINER_OF(w->subs.next, sub, of_ws));
}

const char *links_ws_topic(const links_ws *lw, int nth, int *len)
{
    const ws *w = (const ws *)lw;
    LIST_EACH (l, &w->subs) {
        const sub *s = CONTAINER_OF(l, sub, of_ws);
        if (nth-- == 0) {
            *len = s->topic->len;
            return s->topic->name;
        }
    }
    return NULL;
}

double links_ws_count(const char *name, size_t len)
{
    const topic *t = find(name, len);
    return (double)(bus_count(name, len) + (t ? t->count : 0));
}

/* --- publishing ------------------------------------------------------------------------------ */

/* A message on its way to the connections of this process. */
typedef struct delivery {
    const bus_message *message;
    const ws *except;
    ws_frame *plain, *packed; /* made when the first receiver needs them */
    int receivers;
} delivery;

/* The frame in the form that this receiver takes. Compressed ones are shared where no context is
 * kept and the window is the usual one; others get it as it is, which they may. */
static ws_frame *frame_for(delivery *d, const ws *w)
{
    const bus_message *m = d->message;
    const ws_deflate *z = &w->deflate;
    const links_ws_options *o = &w->hub->options;
    if (z->on && !z->out_context && z->out_bits == WS_BITS_MAX && m->len >= (size_t)o->threshold) {
        size_t len;
        const char *packed =
            d->packed ? NULL
                      : ws_deflate_message(NULL, o->level, WS_BITS_MAX, m->data, m->len, &len);
        if (packed)
            d->packed = ws_frame_new(m->kind, true, packed, len);
        if (d->packed)
            return d->packed;
    }
    if (!d->plain)
        d->plain = ws_frame_new(m->kind, false, m->data, m->len);
    return d->plain;
}

static void send_to(topic *t, delivery *d)
{
    for (list *l = t->subs.next, *next; l != &t->subs; l = next) {
        ws *w = CONTAINER_OF(l, sub, of_topic)->ws;
        next = l->next;
        if (w->stamp == stamp || w == d->except)
            continue;
        w->stamp = stamp; /* who is subscribed twice gets it once */
        if (ws_send_shared(w, frame_for(d, w)))
            d->receivers++;
    }
}

static bool matches(const topic *t, const char *name, size_t len)
{
    return t->len - 1u <= len && memcmp(t->name, name, t->len - 1u) == 0;
}

bool topic_matches(const char *pattern, size_t pattern_len, const char *name, size_t len)
{
    if (pattern_len && pattern[pattern_len - 1] == '*')
        return len >= pattern_len - 1 && memcmp(name, pattern, pattern_len - 1) == 0;
    return len == pattern_len && memcmp(name, pattern, len) == 0;
}

static void each_sub(const topic *t, member_fn *fn, void *arg)
{
    LIST_EACH (node, &t->subs) {
        const sub *s = CONTAINER_OF(node, sub, of_topic);
        fn(arg, t->name, t->len, s->ws, s->member, s->member_len);
    }
}

void topic_each_member(const char *name, size_t len, member_fn *fn, void *arg)
{
    if (!len || name[len - 1] != '*') {
        const topic *t = find(name, len);
        if (t)
            each_sub(t, fn, arg);
        return;
    }
    for (uint32_t i = 0; i < nbuckets; i++)
        for (const topic *t = buckets[i]; t; t = t->next)
            if (topic_matches(name, len, t->name, t->len))
                each_sub(t, fn, arg);
}

int topic_publish(const bus_message *m, const void *except)
{
    delivery d = {.message = m, .except = except};
    stamp++;
    topic *t = find(m->topic, m->topic_len);
    if (t)
        send_to(t, &d);
    for (list *l = patterns.next, *next; l != &patterns; l = next) {
        topic *p = CONTAINER_OF(l, topic, link);
        next = l->next;
        if (p != t && matches(p, m->topic, m->topic_len))
            send_to(p, &d);
    }
    if (d.plain)
        ws_frame_unref(d.plain);
    if (d.packed)
        ws_frame_unref(d.packed);
    return d.receivers;
}

double links_ws_publish(const char *name, size_t name_len, const char *data, size_t len, int kind,
                        const links_ws *except, int everywhere)
{
    bus_message m = {.topic = name, .topic_len = name_len, .data = data, .len = len, .kind = kind};
    ws_utf8 u = {0};
    if (kind == WS_TEXT && !ws_utf8_check(&u, (const uint8_t *)data, len, true))
        return -EILSEQ;
    everywhere = everywhere && bus_is_on();
    if (everywhere && len > BUS_MESSAGE_MAX)
        return LINKS_TOO_LARGE;
    /* The others first: they work while we do. */
    uint64_t others = everywhere ? bus_publish(&m) : 0;
    return (double)(others + (uint64_t)topic_publish(&m, except));
}

void websocket_close(void)
{
    members_close();
    bus_close();
    ws_read_close();
    ws_deflate_close();
}
