/*
 * The resolver as Lua calls it (lib/links/dns.lua). What it knows without asking anybody (literal
 * addresses, the hosts file, localhost, the cache) is answered at once. For the rest there is an
 * "ask": one task's interest in one or two questions. The questions themselves are shared by all
 * that ask them, and go on when an ask is freed.
 *
 * An answer is valid until the next wait, also when its ask is freed: the compiler of LuaJIT may
 * put off reading a field until after a later call. (But for those of links_dns_local and
 * links_dns_local_names, which are valid until they are called again.)
 */
#ifndef LINKS_MODULES_DNS_DNS_H
#define LINKS_MODULES_DNS_DNS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* One record. What the texts and numbers are depends on the type: see message.c. */
typedef struct links_dns_record {
    const char *text[4]; /* not terminated */
    uint32_t len[4];
    uint32_t number[5];
    uint32_t ttl; /* seconds, when it came */
    uint32_t type;
} links_dns_record;

typedef struct links_dns_answer {
    int32_t status; /* 0, or why there is none: -10000 and less */
    int32_t count;
    const links_dns_record *records;
} links_dns_answer;

/* What resolv.conf says, or its defaults. */
typedef struct links_dns_conf {
    int32_t ndots;
    int32_t timeout_ms;
    int32_t tries;
    int32_t nsearch;
} links_dns_conf;

/* How the resolver is set up. */
typedef struct links_dns_setup {
    const char *hosts;                         /* path; NULL: as it is */
    const char *resolv_conf;                   /* path; NULL: as it is */
    double cache_size;                         /* answers; negative: as it is */
    double min_ttl, max_ttl, max_negative_ttl; /* seconds; negative: as they are */
} links_dns_setup;

typedef struct links_dns_stats {
    double hits, misses;  /* of the cache */
    double shared;        /* questions that were being asked already */
    double queries;       /* sent to servers, repeats included */
    double timeouts;      /* queries that nobody answered in time */
    double failures;      /* questions that no server had an answer for */
    double cached, bytes; /* answers in the cache, and their size */
    double pending;       /* questions that are being asked */
} links_dns_stats;

typedef struct links_dns_ask links_dns_ask;

/* Reads the hosts file and resolv.conf again if they have changed; looks once a second at most.
 * Returns a number that changes with them. */
LINKS_API int links_dns_refresh(void);

/* What resolv.conf says; valid until the next links_dns_refresh. */
LINKS_API const links_dns_conf *links_dns_conf_now(void);

/* The i-th search domain, or NULL. */
LINKS_API const char *links_dns_search(int i);

/* What is known of a name without the DNS: that it is an address itself, in the hosts file, or
 * localhost. `family` is 4, 6, or 0 for both. Returns NULL where it is none of these; status
 * -10008 (ARES_EBADNAME) for what cannot be a name. */
LINKS_API const links_dns_answer *links_dns_local(const char *name, size_t len, int family);

/* The names of an address in the hosts file, or localhost; NULL where it is not there. */
LINKS_API const links_dns_answer *links_dns_local_names(const char *ip);

/* The name under which the DNS keeps the names of an address. Returns its length, 0 for what is no
 * address. */
LINKS_API int links_dns_arpa(const char *ip, char name[80]);

/* What the cache has; NULL: nothing. A name without regard to a search list. */
LINKS_API const links_dns_answer *links_dns_cached(int servers, const char *name, size_t len,
                                                   int type);

/* The status of an answer, read now. */
LINKS_API int links_dns_status(const links_dns_answer *answer);

/* Seconds since an answer of links_dns_cached or an ask came. */
LINKS_API double links_dns_age(const links_dns_answer *answer);

LINKS_API links_dns_ask *links_dns_ask_new(void);
LINKS_API void links_dns_ask_free(links_dns_ask *ask);

/* Asks `servers` (0: the default ones) for a name; to be called once or twice. A `timeout_ms` or
 * `tries` of 0 is what resolv.conf says. Returns 0, -10008 for what is no name, LINKS_FULL when too
 * many questions are being asked. */
LINKS_API int links_dns_ask_start(links_dns_ask *ask, int servers, const char *name, size_t len,
                                  int type, int timeout_ms, int tries);

/* Waits until `want` questions of the ask have their answer. Returns 0, or parks. */
LINKS_API int links_dns_ask_wait(links_dns_ask *ask, int want, int timeout_ms);

/* The answer to question `i`, from 0; NULL where it has not come yet. */
LINKS_API const links_dns_answer *links_dns_ask_answer(const links_dns_ask *ask, int i);

/* The number of a list of servers: "127.0.0.1:53,[::1]:53". Returns -EINVAL for what is none,
 * -E2BIG for more than 8, LINKS_FULL when too many lists are in use. */
LINKS_API int links_dns_servers(const char *list);

/* A list's text; 0 stands for the default servers. */
LINKS_API const char *links_dns_servers_text(int servers);

/* Makes a list the default, and forgets all answers. 0: what resolv.conf says. */
LINKS_API void links_dns_servers_default(int servers);

/* Brings addresses, separated by spaces, into the order of RFC 6724: order[i] is the place of the
 * one to come i-th. Returns how many there are, at most 64. */
LINKS_API int links_dns_order(const char *list, uint8_t order[64]);

/* Forgets the answers about a name, or with NULL all. Returns how many. */
LINKS_API int links_dns_clear(const char *name, size_t len);

LINKS_API void links_dns_setup_now(const links_dns_setup *setup);
LINKS_API void links_dns_stats_now(links_dns_stats *stats);

#endif
