/*
 * resolv.conf, read as the C library reads it (resolv.conf(5)): which servers, which domains to
 * search, how long and how often.
 */
#ifndef LINKS_MODULES_DNS_CONF_H
#define LINKS_MODULES_DNS_CONF_H

#include <stdbool.h>
#include <stddef.h>

#include "dns.h"
#include "modules/net/address.h"

enum {
    CONF_MAX_FILE = 1 << 20, /* bytes; what lies beyond is not read */
    CONF_MAX_SERVERS = 3,
    CONF_MAX_SEARCH = 32,
    CONF_MAX_DOMAIN = 254, /* with its terminator */
    CONF_MAX_NDOTS = 15,
    CONF_MAX_TIMEOUT = 30, /* seconds */
    CONF_MAX_TRIES = 5,
};

typedef struct conf {
    links_dns_conf public;
    address servers[CONF_MAX_SERVERS];
    int nservers;
    bool rotate;
    char search[CONF_MAX_SEARCH][CONF_MAX_DOMAIN];
} conf;

/* What holds where the file says nothing: the server on this host, ndots 1, 5 s, 2 tries, and the
 * domain of this host. */
void conf_init(conf *c);

/* Takes over what the text says. Lines that nobody can make sense of are passed over, as the C
 * library does. */
void conf_parse(conf *c, const char *text, size_t len);

/* The environment's LOCALDOMAIN and RES_OPTIONS come after the file. */
void conf_environment(conf *c);

#endif
