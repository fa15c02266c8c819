/*
 * Lists of DNS servers. Every list that somebody names gets a number, under which the answers of
 * its servers are kept; the number of a list that has been let go of never comes back.
 */
#ifndef LINKS_MODULES_DNS_SERVERS_H
#define LINKS_MODULES_DNS_SERVERS_H

#include <stdbool.h>

#include "base/list.h"
#include "modules/net/address.h"

enum {
    SERVERS_MAX = 8,          /* in a list */
    SERVERS_MAX_LISTS = 1024, /* that are remembered; the longest unused one goes first */
    SERVERS_BAD_MS = 30000,   /* who did not answer comes last for this long */
    SERVERS_TEXT_MAX = SERVERS_MAX * (ADDRESS_TEXT_MAX + 9) + 1,
};

typedef struct servers {
    list link;
    int id;
    int users; /* questions that are asked of it, and who has it for the default */
    int count;
    unsigned turn; /* who begins, where they take turns */
    bool rotate;
    address at[SERVERS_MAX];
    int64_t bad_until_ms[SERVERS_MAX];
    char text[SERVERS_TEXT_MAX]; /* "127.0.0.1:53,[::1]:53" */
} servers;

typedef struct server_lists {
    list used; /* most recently used first */
    int count;
    int last_id;
} server_lists;

void servers_init(server_lists *lists);
void servers_deinit(server_lists *lists);

/* The list for these servers. NULL when all that may be remembered are in use. */
servers *servers_get(server_lists *lists, const address *at, int count);

/* The list for a text as above, where a port may be left out. Returns 0, -EINVAL for what is no
 * such text, -E2BIG for too many, LINKS_FULL. */
int servers_parse(server_lists *lists, const char *text, servers **found);

/* The list with this number; NULL: it has been forgotten. */
servers *servers_find(server_lists *lists, int id);

/* Writes the order in which to ask: as they are, or from the next one on where they take turns,
 * but those that did not answer lately last. */
void servers_order(servers *s, int64_t now_ms, uint8_t order[static SERVERS_MAX]);

#endif
