/*
 * The sockets that the master of a cluster keeps for its workers: it binds what they want to listen
 * on. One socket for each worker, so that the system spreads the connections; the master only keeps
 * them, so that their queues outlive a worker.
 *
 * At a change to another program all of them go to its master, as they are.
 */
#ifndef LINKS_MODULES_PROCESS_LEASE_H
#define LINKS_MODULES_PROCESS_LEASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "modules/net/lent.h"

/* Who asks: the worker in a slot; `serial` is its own, `generation` counts the reloads. */
typedef struct holder {
    int slot, generation;
    uint32_t serial;
} holder;

/* The socket that a worker asks for: a descriptor that stays ours, and in *id what it is released
 * by; or -errno. */
int lease_lend(const holder *who, const lent_request *what, uint32_t *id);

/* A worker has closed a server, and goes on. */
void lease_release(const holder *who, uint32_t id);

/* It has ended: its successor may listen there. */
void lease_forget(const holder *who);

/* --- to another master --------------------------------------------------------------------- */

enum { LEASE_TEXT = 512 };

/* Where in all the sockets somebody is who goes through them; begins with zeros. */
typedef struct lease_place {
    uint32_t id;
    int slot;
} lease_place;

/* The next socket and what it is, as text: its descriptor, which stays ours; LINKS_NOT_FOUND beyond
 * the last. Leases may come and go in between. */
int lease_next(lease_place *at, char text[static LEASE_TEXT]);

/* Takes a socket over that another master has described so: 0, -EPROTO for a text that is none,
 * with the descriptor left open. */
int lease_restore(int fd, const char *text);

#endif
