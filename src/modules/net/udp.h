/*
 * Datagram sockets as Lua calls them (lib/links/udp.lua). Datagrams are read in batches, so that a
 * busy socket costs a fraction of a system call for each; they are handed out one by one.
 *
 * Where a function says "parks", it returns LINKS_AGAIN with the coroutine parked: wait, and with
 * status 0 make the same call again.
 */
#ifndef LINKS_MODULES_NET_UDP_H
#define LINKS_MODULES_NET_UDP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    UDP_MAX = 65536,     /* bytes of a datagram; the protocol ends at 65,527 */
    UDP_RECV_BATCH = 32, /* read at a time */
    UDP_SEND_BATCH = 64, /* sent at a time */
};

typedef struct links_udp_options {
    int family; /* 4 or 6 */
    int reuseport, broadcast, v6only;
    int multicast_ttl, multicast_loop;
    int recv_buffer, send_buffer; /* bytes in the system; 0: its default */
} links_udp_options;

typedef struct links_udp links_udp;

/* A datagram that came. The data is valid until the next call. */
typedef struct links_udp_packet {
    const char *data;
    uint32_t len;
    int32_t port;
    char address[46];
} links_udp_packet;

/* A datagram to send, by links_udp_send_many. */
typedef struct links_udp_message {
    const char *data;
    uint32_t len;
    int32_t port;
    const char *host; /* NULL: the peer of a connected socket */
} links_udp_message;

/* Opens a socket bound to a numeric address, or takes one that this process was started with, by
 * its address or, with a host such as "fd:name", by its name. In a worker of a cluster the master
 * lends it, unless the port is 0. Returns its family and the socket, to be freed by links_udp_free;
 * or -errno, LINKS_NOT_FOUND. */
LINKS_API int links_udp_open(links_udp **socket, const char *host, int port,
                             const links_udp_options *options);

/* The next datagram: 0, or parks, for as long as it takes with a `timeout_ms` of 0, and not at all
 * with a negative one (-ETIMEDOUT); -EBUSY while another coroutine waits for one, -ECONNREFUSED and
 * the like on a connected socket. */
LINKS_API int links_udp_recv(links_udp *socket, links_udp_packet *packet, double timeout_ms);

/* Sends one datagram; to the peer of a connected socket where `host` is NULL. Returns 0, parks
 * while the system has no room, or -errno; -EINVAL for a host that is no numeric address. */
LINKS_API int links_udp_send(links_udp *socket, const char *data, size_t len, const char *host,
                             int port);

/* Sends `count` datagrams. Returns how many have gone, which may be fewer; parks, or fails, only
 * where not even the first has. */
LINKS_API int links_udp_send_many(links_udp *socket, const links_udp_message *messages, int count);

/* Sets the peer: datagrams come from nobody else then. */
LINKS_API int links_udp_connect(links_udp *socket, const char *host, int port);

/* Joins or leaves a multicast group, on an interface given by name or, in IPv4, by its address;
 * NULL is the system's choice. */
LINKS_API int links_udp_membership(links_udp *socket, int join, const char *group,
                                   const char *interface);

/* The address of this side, or of the peer: its family, and `text` (46 bytes) and *port. */
LINKS_API int links_udp_address(links_udp *socket, int peer, char *text, int *port);

/* Closes; who waits gets LINKS_CLOSED, and so does every later call. Twice is harmless. */
LINKS_API void links_udp_close(links_udp *socket);
LINKS_API void links_udp_free(links_udp *socket);

#endif
