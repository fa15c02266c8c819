/*
 * Sockets of datagrams before anybody reads them: the master of a cluster binds them for its
 *
 * workers. */
#ifndef LINKS_MODULES_NET_UDP_BIND_H
#define LINKS_MODULES_NET_UDP_BIND_H

#include <stdbool.h>

#include "address.h"
#include "udp.h"

/* A bound socket that shares its port with others of its kind, which `exclusive` refuses to do with
 * those that are there already: a descriptor, or -errno. */
int udp_bind(const address *at, const links_udp_options *options, bool exclusive);

#endif
