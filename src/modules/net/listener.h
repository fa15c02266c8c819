/*
 * A listening socket. Connections are accepted in bursts, so that a flood of them cannot keep the
 * loop from those that are there; running out of descriptors turns clients away instead of
 * spinning on a queue that never empties.
 */
#ifndef LINKS_MODULES_NET_LISTENER_H
#define LINKS_MODULES_NET_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "address.h"
#include "ev/ev.h"

enum {
    LISTENER_BURST = 64,       /* connections accepted in one turn */
    LISTENER_BACKLOG = 511,    /* default length of the system's queue */
    LISTENER_BACKOFF_MS = 100, /* pause when the system has no memory or table entry left */
};

typedef struct listener listener;

struct listener {
    ev_io io;
    ev_loop *loop;
    ev_timer timer; /* the next turn's burst, or the end of a back-off */
    /* A connection: a non-blocking, close-on-exec descriptor that now belongs to the callee. */
    void (*accepted)(listener *l, int fd, const address *peer);
    address local;
    int reserve;    /* given up for a moment to turn a client away when none is left */
    bool paused;    /* the owner takes no more for now */
    bool pending;   /* there may be connections in the queue */
    uint32_t lease; /* the number of a socket that the master of a cluster has lent; 0: our own */
    uint64_t naccepted;
    uint64_t nrefused; /* turned away for want of a descriptor */
};

typedef struct listener_options {
    int backlog;    /* 0: LISTENER_BACKLOG */
    bool reuseport; /* several processes share the port */
    bool exclusive; /* but not with those that listen already: -EADDRINUSE then */
    bool nodelay;   /* no Nagle on what is accepted */
    bool v6only;    /* an IPv6 socket does not take IPv4 */
    bool keepalive; /* SO_KEEPALIVE on what is accepted */
    int keepidle;   /* seconds before its first probe; 0: the system's */
    int defer;      /* seconds that a connection may stay with the system until its first byte has
                       come (Linux); 0: it comes at once */
    int fast_open;  /* connections whose first bytes came with the SYN and that are not confirmed
                       yet; 0: none (RFC 7413) */
} listener_options;

/* A socket that is bound and set up, and does not listen yet: a descriptor, or -errno. */
int listener_bind(const address *at, const listener_options *options);

/* Binds and listens, on a socket that this process was started with where one has that address; in
 * a worker of a cluster it is its master's. Returns 0, or -errno with nothing left open; `at` may
 * have port 0, and l->local then says which the system chose. */
int listener_open(listener *l, ev_loop *loop, const address *at, const listener_options *options);

/* The same for a numeric address as text, or "fd:" and the name of a socket that this process was
 * started with: -EINVAL for what is neither, LINKS_NOT_FOUND, -EPROTOTYPE. */
int listener_open_host(listener *l, ev_loop *loop, const char *host, int port,
                       const listener_options *options);

/* Takes over a bound, non-blocking socket of any family, and listens. Returns 0, or -errno with
 * the descriptor left open. */
int listener_adopt(listener *l, ev_loop *loop, int fd, int backlog);

/* What is adopted has been lent: see lent.h. */
void listener_owes(listener *l, uint32_t lease);

/* Closes the socket; connections in the queue are reset by the system, unless it was lent and this
 * process is about to end. Harmless when closed. */
void listener_close(listener *l);

/* Takes what is in the queue now, before it is closed. */
void listener_empty(listener *l);

/* Stops taking connections from the queue, and takes them again. */
void listener_pause(listener *l);
void listener_resume(listener *l);

#endif
