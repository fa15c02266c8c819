/*
 * Answers by question, for as long as their TTL allows. Bounded by number and by bytes: the one
 * that was used longest ago goes first.
 */
#ifndef LINKS_MODULES_DNS_CACHE_H
#define LINKS_MODULES_DNS_CACHE_H

#include "base/list.h"
#include "message.h"

enum {
    CACHE_MAX_COUNT = 4096,    /* answers, where nothing else is said */
    CACHE_MAX_BYTES = 8 << 20, /* of answers */
    CACHE_MAX_TTL = 86400,     /* seconds, where nothing else is said */
    CACHE_MAX_NEGATIVE_TTL = 900,
};

/* A question: a name as on the wire in lower case, a type, and who is asked. */
typedef struct question {
    uint8_t wire[NAME_MAX_WIRE];
    int wire_len;
    int type;
    int servers;
    uint32_t hash;
} question;

typedef struct cache_entry cache_entry;

typedef struct cache {
    cache_entry **buckets; /* made at the first answer */
    list used;             /* most recently used first */
    uint32_t count;
    size_t bytes;
    double max_count;
    double min_ttl, max_ttl, max_negative_ttl;
    ev_loop *loop; /* answers go at the end of its turn; NULL: at once */
} cache;

/* Makes a question of a name; false for what is no name. */
bool question_init(question *q, int servers, const char *name, size_t len, int type);
bool question_equal(const question *a, const question *b);

void cache_init(cache *c);
void cache_deinit(cache *c);

/* NULL: nothing, or not any more. The answer is the cache's. */
answer *cache_get(cache *c, const question *q, int64_t now_ms);

/* Keeps the answer, if it may be kept. */
void cache_put(cache *c, const question *q, answer *a, int64_t now_ms);

/* Forgets what is known of a name, or with NULL everything. Returns how many answers. */
int cache_clear(cache *c, const uint8_t *wire, int wire_len);

/* Brings the cache within its limits after they have been changed. */
void cache_trim(cache *c);

#endif
