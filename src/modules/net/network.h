/*
 * Networks: an address and how many of its bits count. An IPv4 address that comes as an IPv6 one
 * (::ffff:192.0.2.1), as sockets for both give it, is the IPv4 address.
 */
#ifndef LINKS_MODULES_NET_NETWORK_H
#define LINKS_MODULES_NET_NETWORK_H

#include <stdbool.h>

#include "address.h"

typedef struct network {
    address at;
    uint8_t bits;
} network;

/* "10.0.0.0/8", "2001:db8::/32", or an address alone. 0, or -EINVAL for what is no network; bits
 * beyond the length are not looked at. */
int network_parse(network *n, const char *text);

/* Whether the address lies within. */
bool network_has(const network *n, const address *a);

#endif
