/*
 * The order in which to try the addresses of a host: RFC 6724, section 6, with its table of
 * policies. What it needs to know of this host, which address it would send from, it asks the
 * system; rules 3, 4 and 7 are about things the system does not tell.
 */
#ifndef LINKS_MODULES_DNS_SORT_H
#define LINKS_MODULES_DNS_SORT_H

#include <stdbool.h>

#include "modules/net/address.h"

enum { SORT_MAX = 64 };

/* The address this host would send from to `to`; false where it would not know how. */
typedef bool sort_source(const address *to, address *from);

/* Writes the order of `count` (at most SORT_MAX) addresses: order[0] is the index of the best one.
 * Equals stay as they are. */
void sort_addresses(const address *at, int count, uint8_t order[static SORT_MAX],
                    sort_source *source);

/* What the system says. */
bool sort_source_of_system(const address *to, address *from);

#endif
