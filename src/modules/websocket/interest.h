/*
 * How many subscriptions a process has to each topic, in memory where the others can look.
 *
 * A table by hashes of 64 bits of the names; the names themselves are not in it. Its process alone
 * writes, and the others read without a lock. Where the table has to be made anew, because it is to
 * grow, or because too many entries are left of topics that are gone, its version is odd meanwhile:
 * readers take that for "perhaps".
 */
#ifndef LINKS_MODULES_WEBSOCKET_INTEREST_H
#define LINKS_MODULES_WEBSOCKET_INTEREST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    INTEREST_NAME_MAX = 255,
    INTEREST_SLOTS_MIN = 1 << 12,
    INTEREST_SLOTS_MAX = 1 << 22, /* 3 million topics of a process */
    INTEREST_SLOT = 16,           /* bytes */
};

typedef struct interest_slot {
    uint64_t hash; /* 0: never used */
    uint64_t count;
} interest_slot;

/* In shared memory; room for INTEREST_SLOTS_MAX is mapped, the first mask + 1 are in use. */
typedef struct interest {
    uint64_t version;
    uint64_t mask;
    uint64_t used;        /* slots that are not 0; the owner's */
    uint64_t live;        /* those with a count */
    uint64_t patterns[4]; /* bit n: there is a pattern with n bytes before its "*" */
    uint32_t of_length[INTEREST_NAME_MAX + 1]; /* how many; the owner's */
    interest_slot slots[];
} interest;

/* A topic's name as it is looked for: hashed up to each of its bytes, for the patterns. */
typedef struct interest_name {
    uint64_t whole;
    uint64_t before_star[INTEREST_NAME_MAX + 1];
    uint32_t len;
    bool ends_in_star;
} interest_name;

void interest_name_init(interest_name *n, uint64_t seed, const char *name, size_t len);

/* --- the owner ------------------------------------------------------------------------------- */

/* Makes it empty, whatever it was. */
void interest_init(interest *t);

/* The number of slots that it must have for one topic more: there must be room for so many before
 * interest_add is called. 0 where it is full. */
uint64_t interest_wants(const interest *t);

/* One subscription more, or less, to the topic or the pattern of that name. */
void interest_add(interest *t, const interest_name *n);
void interest_remove(interest *t, const interest_name *n);

/* --- anybody --------------------------------------------------------------------------------- */

/* Subscriptions to the topic by this name, or also those to patterns that it matches: -1 where they
 * cannot be told just now. */
int64_t interest_count(const interest *t, const interest_name *n, bool with_patterns);

#endif
