/*
 * The listening sockets of a worker of a cluster. Its master owns them, and lends them: over a pair
 * of Unix sockets the worker says where it wants to listen, and gets a descriptor. So the queue of
 * connections outlives the worker. Outside a cluster nothing of this is ever called.
 */
#ifndef LINKS_MODULES_NET_LENT_H
#define LINKS_MODULES_NET_LENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#include "listener.h"
#include "tcp.h"
#include "udp.h"

enum lent_kind {
    LENT_TCP = 1,     /* asks for a socket */
    LENT_UNIX = 2,    /* the same, at a path */
    LENT_RELEASE = 3, /* the worker listens there no more */
    LENT_NOTICE = 4,  /* something for the master to know */
    LENT_UDP = 5,     /* asks for a socket of datagrams */
    LENT_NAMED = 6,   /* asks for one that the master was started with, of the type in `what` */
    LENT_MEMORY = 7,  /* asks for the memory of the cluster's metrics */
    LENT_TRAIL = 8,   /* asks for its page of http/trail.h */
};

enum { LENT_MAGIC = 0x6c6e7402 };

/* What a worker says. Both ends are this same program, and the size of it is looked at. */
typedef struct lent_request {
    uint32_t magic, size;
    int32_t kind;
    int32_t what;   /* of a notice; a type; how many workers there are, who ask for memory */
    uint32_t lease; /* of a release */
    int32_t nth;    /* which of its sockets with port 0 this is */
    address at;
    listener_options options;
    links_unix_options file;
    links_udp_options udp;
    uint32_t path_len; /* of a path, or a name */
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
} lent_request;

/* What it hears, with a descriptor where `rc` is 0. */
typedef struct lent_answer {
    int32_t rc;
    uint32_t lease;
} lent_answer;

/* The end of the pair that leads to the master; `fd` is this unit's from now on. */
void lent_open(int fd);

/* There is a master to ask. */
bool lent_active(void);

/* A bound socket, and in *lease the number that it is released by; or -errno as bind has it. They
 * wait for the master, who has nothing else to do. */
int lent_tcp(const address *at, const listener_options *options, uint32_t *lease);
int lent_unix(const char *path, size_t len, const links_unix_options *file, uint32_t *lease);
int lent_udp(const address *at, const links_udp_options *options, uint32_t *lease);

/* One that the master was started with: see inherited_name. */
int lent_named(int type, const char *name, uint32_t *lease);

/* A descriptor of the memory that a cluster of so many workers has for its metrics, or -errno. */
int lent_memory(int workers);

/* A descriptor of the page in which the master sees what this worker served when it has died, or
 * -errno. */
int lent_trail(void);

/* The worker closes that socket, and means it: unless lent_keep was called, the master does too. */
void lent_release(uint32_t lease);

/* From now on this process ends: its sockets are for its successor. */
void lent_keep(void);
bool lent_keeps(void);

/* Tells the master. 0 or -errno; -ENOTCONN where there is none. */
int lent_notice(int what);

/* Ends the way to the master. */
void lent_close(void);

#endif
