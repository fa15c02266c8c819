/*
 * Numeric socket addresses: text to sockaddr and back. Names are the resolver's business.
 */
#ifndef LINKS_MODULES_NET_ADDRESS_H
#define LINKS_MODULES_NET_ADDRESS_H

#include <stdint.h>
#include <sys/socket.h>

/* An address in the 19 bytes that a connection keeps, instead of the system's 128. */
typedef struct address {
    uint8_t ip[16];
    uint16_t port;
    uint8_t family; /* 4, 6, or 0 for none */
} address;

enum { ADDRESS_TEXT_MAX = 46 };

/* "127.0.0.1", "::1", "::" and a port to `a`. Returns 0, or -EINVAL for what is no address. */
int address_parse(address *a, const char *host, int port);

/* Writes the address without its port and returns its length; "" for none. */
int address_format(const address *a, char text[static ADDRESS_TEXT_MAX]);

/* To the system's form; returns its length. */
socklen_t address_to_sockaddr(const address *a, struct sockaddr_storage *ss);

void address_from_sockaddr(address *a, const struct sockaddr_storage *ss);

#endif
