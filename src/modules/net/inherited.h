/*
 * Sockets that this process was started with: by systemd, or whatever else knows its protocol
 * (LISTEN_FDS, LISTEN_PID and LISTEN_FDNAMES, sd_listen_fds(3)). Who wants to listen at an address
 * that one of them has takes it instead of opening one, and so does who asks for it by its name.
 */
#ifndef LINKS_MODULES_NET_INHERITED_H
#define LINKS_MODULES_NET_INHERITED_H

#include <stddef.h>

#include "address.h"

enum {
    INHERITED_MAX = 1024, /* sockets */
    INHERITED_NAME = 256, /* bytes of a name, with its end; systemd's limit too */
};

/* Reads the environment, and takes it out of there. 0, or -errno where it is not as it should be,
 * with its reason in `why`. */
int inherited_open(char *why, size_t size);

/* Adds a descriptor, which is this unit's from then on, as the nth of its name (0: the next): 0, or
 * -errno with it left open. */
int inherited_add(int fd, const char *name, int nth);

/* Each of these takes a socket of that type (SOCK_STREAM, SOCK_DGRAM), which is the caller's then:
 * its descriptor, which does not block, or LINKS_NOT_FOUND. An IPv6 socket of all addresses that
 * takes IPv4 too is one for all addresses of IPv4. */
int inherited_at(int type, const address *at);
int inherited_path(int type, const char *path, size_t len);

/* "web", or "web:2" for the second one of that name. -EPROTOTYPE for one of another type. */
int inherited_name(int type, const char *name, size_t len);

/* The one with that index, from 0, of those that nobody has taken: its descriptor, name and number
 * among those of the name; LINKS_NOT_FOUND beyond the last. */
int inherited_left(int index, const char **name, int *nth);

/* The number of the protocol's first descriptor, and the prefix of a host that is a name. */
#define INHERITED_FIRST  3
#define INHERITED_PREFIX "fd:"

/* The name in a host such as "fd:web"; NULL for any other. */
const char *inherited_host(const char *host);

void inherited_close(void);

#endif
