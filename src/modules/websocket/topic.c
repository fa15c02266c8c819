/*
 * Topics: who gets what is published. They are the process's: connections of all hubs meet there.
 * A published message is encoded once, and compressed at most once; every receiver's output refers
 * to that one frame, and what a turn publishes leaves in one write per receiver.
 */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "conn.h"

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
    list_remove(&s->of_ws);
    list_remove(&s->of_topic);
    mem_free(s);
    if (--t->count == 0)
        forget(t);
}

int links_ws_subscribe(links_ws *lw, const char *name, size_t len)
{
    ws *w = ws_of(lw);
    if (lw->closed)
        return LINKS_WS_CLOSED;
    if (len > NAME_MAX_LEN)
        return LINKS_TOO_LARGE;
    if (find_sub(w, name, len))
        return 0;
    if (w->nsubs >= WS_TOPICS_MAX)
        return LINKS_FULL;
    topic *t = find(name, len);
    if (!t)
        t = make(name, len);
    sub *s = mem_alloc(sizeof(*s));
    s->topic = t;
    s->ws = w;
    list_push_back(&t->subs, &s->of_topic);
    list_push_back(&w->subs, &s->of_ws);
    t->count++;
    w->nsubs++;
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

int links_ws_count(const char *name, size_t len)
{
    const topic *t = find(name, len);
    return t ? (int)t->count : 0;
}

/* --- publishing ------------------------------------------------------------------------------ */

typedef struct message {
    const char *data;
    size_t len;
    int kind;
    const ws *except;
    ws_frame *plain, *packed; /* made when the first receiver needs them */
    int receivers;
} message;

/* The frame in the form that this receiver takes. Compressed ones are shared where no context is
 * kept and the window is the usual one; others get it as it is, which they may. */
static ws_frame *frame_for(message *m, const ws *w)
{
    const ws_deflate *d = &w->deflate;
    const links_ws_options *o = &w->hub->options;
    if (d->on && !d->out_context && d->out_bits == WS_BITS_MAX && m->len >= (size_t)o->threshold) {
        size_t len;
        const char *packed =
            m->packed ? NULL
                      : ws_deflate_message(NULL, o->level, WS_BITS_MAX, m->data, m->len, &len);
        if (packed)
            m->packed = ws_frame_new(m->kind, true, packed, len);
        if (m->packed)
            return m->packed;
    }
    if (!m->plain)
        m->plain = ws_frame_new(m->kind, false, m->data, m->len);
    return m->plain;
}

static void send_to(topic *t, message *m)
{
    for (list *l = t->subs.next, *next; l != &t->subs; l = next) {
        ws *w = CONTAINER_OF(l, sub, of_topic)->ws;
        next = l->next;
        if (w->stamp == stamp || w == m->except)
            continue;
        w->stamp = stamp; /* who is subscribed twice gets it once */
        if (ws_send_shared(w, frame_for(m, w)))
            m->receivers++;
    }
}

static bool matches(const topic *t, const char *name, size_t len)
{
    return t->len - 1u <= len && memcmp(t->name, name, t->len - 1u) == 0;
}

int links_ws_publish(const char *name, size_t name_len, const char *data, size_t len, int kind,
                     const links_ws *except)
{
    message m = {.data = data, .len = len, .kind = kind, .except = (const ws *)except};
    ws_utf8 u = {0};
    if (kind == WS_TEXT && !ws_utf8_check(&u, (const uint8_t *)data, len, true))
        return -EILSEQ;
    stamp++;
    topic *t = find(name, name_len);
    if (t)
        send_to(t, &m);
    for (list *l = patterns.next, *next; l != &patterns; l = next) {
        topic *p = CONTAINER_OF(l, topic, link);
        next = l->next;
        if (p != t && matches(p, name, name_len))
            send_to(p, &m);
    }
    if (m.plain)
        ws_frame_unref(m.plain);
    if (m.packed)
        ws_frame_unref(m.packed);
    return m.receivers;
}

void websocket_close(void)
{
    ws_read_close();
    ws_deflate_close();
}
