/*
 * What the sockets of one loop share: the pool of buffers, and the end of the turn. The loop's
 * flush hook is taken here: every stream that was written to during the turn is on the dirty
 * list, and gets its one write. Whoever else has something to do at the end of each turn hooks in
 * before that.
 */
#ifndef LINKS_MODULES_NET_NET_H
#define LINKS_MODULES_NET_NET_H

#include "base/chunk.h"
#include "base/list.h"
#include "ev/ev.h"

typedef struct net net;
typedef struct net_hook net_hook;

struct net_hook {
    list link;
    void (*fn)(net_hook *hook);
};

/* A connection that goes on without an owner: it still has something to send. */
typedef struct net_orphan net_orphan;

struct net_orphan {
    list link;
    void (*end)(net_orphan *orphan);
};

/* A connection that was taken over from the server that accepted it. The server still counts it,
 * tells it when it is to say goodbye, and may break it off. */
typedef struct guest guest;

struct guest {
    list link; /* of the server's guests */
    void *server, *owner;
    void (*left)(guest *g);   /* the server's: the connection is gone */
    void (*retire)(guest *g); /* the owner's: the server has stopped */
    void (*abort)(guest *g);  /* the owner's: the connection is to go at once; it leaves by that */
};

struct net {
    ev_loop *loop;
    list dirty;   /* streams with output to write at the end of this turn */
    list hooks;   /* called before that, every turn */
    list orphans; /* ended by net_close */
    chunk_pool chunks;
    char *scratch;
    chunk *lent; /* emptied, but its bytes are still being read */
    int64_t trimmed_ms;
    int users;
    net *next;
};

/* The net of a loop, made for its first user. Undone by net_close. */
net *net_open(ev_loop *loop);
void net_close(net *n);

/* The guest's connection is closed. Harmless on one that has left, or is all zero. */
void guest_leave(guest *g);

/* Calls `fn` at the end of each turn, before the output is written. */
void net_hook_start(net *n, net_hook *hook, void (*fn)(net_hook *hook));
void net_hook_stop(net_hook *hook);

/* NET_SCRATCH bytes for who reads and is done with them before anybody else runs; made at the
 * first use. */
enum { NET_SCRATCH = 1048576 };
char *net_scratch(net *n);

/* Gives back a chunk whose bytes stay readable until the next call of this. */
void net_lend(net *n, chunk *c);

#endif
