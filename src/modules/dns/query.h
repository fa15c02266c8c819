/*
 * Questions that are being asked: one at a time for each, however many wait for its answer. A
 * question goes to one server after the other, and over again, until one has an answer; then it is
 * kept, and all that wait get it. Nobody's leaving ends a question.
 */
#ifndef LINKS_MODULES_DNS_QUERY_H
#define LINKS_MODULES_DNS_QUERY_H

#include "cache.h"
#include "channel.h"
#include "lua/sched.h"
#include "servers.h"

enum {
    QUERIES_MAX = 10000, /* being asked at a time */
    QUERIES_BUCKETS = 256,
    ASK_PARTS = 2,
};

typedef struct query query;

typedef struct queries {
    channels channels;
    cache *cache;
    list buckets[QUERIES_BUCKETS];
    links_dns_stats *stats;
    int pending;
} queries;

/* One question of an ask. */
typedef struct ask_part {
    list link; /* of the query's askers, until the answer has come */
    links_dns_ask *ask;
    answer *answer;
} ask_part;

struct links_dns_ask {
    waitq waiters;
    ask_part parts[ASK_PARTS];
    int count;
    int done;
    ev_release release;
};

void queries_open(queries *qs, net *n, cache *c, links_dns_stats *stats);

/* All questions end with DNS_EDESTRUCTION. */
void queries_close(queries *qs);

/* Asks, or joins those who do already. `s` must live until then: it counts as used. Returns 0, or
 * LINKS_FULL. */
int queries_ask(queries *qs, links_dns_ask *ask, const question *q, servers *s, int timeout_ms,
                int tries);

#endif
