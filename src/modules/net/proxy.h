/*
 * The PROXY protocol, versions 1 (text) and 2 (binary), as HAProxy's proxy-protocol.txt has it: a
 * header that a load balancer puts in front of a connection to tell who the client is.
 */
#ifndef LINKS_MODULES_NET_PROXY_H
#define LINKS_MODULES_NET_PROXY_H

#include <stddef.h>

#include "address.h"

enum {
    PROXY_V1_MAX = 107,      /* of the specification, CR LF included; version 2 without extensions
                                is shorter */
    PROXY_HEADER_MAX = 4096, /* a version 2 header with its extensions, which are skipped */
};

typedef struct proxy_header {
    address source, destination; /* family 0: not told (a health check, or no IP connection) */
} proxy_header;

/* Parses what begins with a header. Returns its length, 0 where more must come, LINKS_PROTOCOL for
 * what is none. */
int proxy_parse(proxy_header *header, const char *data, size_t len);

/* Writes the header, of version 1 or 2, that tells of these addresses; where the source has no
 * family it says that there is nobody to tell of. An IPv4 address beside an IPv6 one goes as a
 * mapped one. Returns its length. */
int proxy_build(const proxy_header *header, int version, char out[static PROXY_V1_MAX]);

#endif
