/*
 * c-ares on the reactor. A channel of ours asks one server once per query, waits for a fixed time,
 * and changes to TCP by itself where an answer is too long; which server comes next and how often
 * is the caller's business. So nothing depends on how a version of c-ares chooses and times its
 * servers.
 *
 * c-ares opens and closes the sockets and tells of it; each is watched once, edge-triggered, and
 * read until it is empty. Its timeouts are one timer per channel, set anew at the end of each turn
 * in which something has happened to it.
 */
#ifndef LINKS_MODULES_DNS_CHANNEL_H
#define LINKS_MODULES_DNS_CHANNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "modules/net/address.h"
#include "modules/net/net.h"

enum { CHANNELS_IDLE_MAX = 8 }; /* kept for reuse: in c-ares 1.18 each is 75 KiB */

typedef struct channel channel;

/* The channels of a loop. */
typedef struct channels {
    net *net;
    net_hook hook;
    list all;   /* most recently used first */
    list dirty; /* something has happened to them in this turn */
    int count;
    bool hooked;
    bool closing;
} channels;

void channels_open(channels *cs, net *n);

/* Every query under way ends with DNS_EDESTRUCTION. */
void channels_close(channels *cs);

/* Called once for each query: with the reply, valid until it returns; or without, and status says
 * why: DNS_ETIMEOUT, DNS_ECONNREFUSED, DNS_EDESTRUCTION. May come before channels_send returns. */
typedef void channel_reply(void *arg, int status, const uint8_t *message, size_t len);

/* Asks a server. */
void channels_send(channels *cs, const address *server, int timeout_ms, bool tcp,
                   const uint8_t *query, int len, channel_reply *reply, void *arg);

/* The version of c-ares. */
const char *channel_library_version(void);

#endif
