/*
 * The hosts file as a table by name. Every line that names a host counts, as for getent: a name
 * may have several addresses, in the order of the lines.
 */
#ifndef LINKS_MODULES_DNS_HOSTS_H
#define LINKS_MODULES_DNS_HOSTS_H

#include <stddef.h>
#include <stdint.h>

#include "message.h"
#include "name.h"

enum {
    HOSTS_MAX_FILE = 64 << 20, /* bytes; what lies beyond is not read */
    HOSTS_MAX_ADDRESSES = 64,  /* of one name; further ones are passed over */
};

/* One name on one line. */
typedef struct host {
    uint32_t next; /* of the same bucket, in the order of the file; 0: the last */
    uint32_t name; /* its place in the names, as on the wire */
    uint8_t ip[16];
    uint8_t family;
} host;

typedef struct hosts {
    host *hosts; /* from 1 */
    uint8_t *names;
    uint32_t *buckets; /* the first host of each */
    uint32_t count, capacity;
    uint32_t names_len, names_capacity;
    uint32_t mask; /* of the buckets; a power of two, less one */
} hosts;

/* An empty table; all zero is one, too. */
void hosts_init(hosts *h);
void hosts_deinit(hosts *h);

/* Adds what the text says. Lines without an address or names are passed over. */
void hosts_parse(hosts *h, const char *text, size_t len);

/* Adds the addresses of a name (lower case, as on the wire) to the answer. `family` is 4, 6 or 0
 * for both; 4 takes ::1 and mapped addresses for what they are in IPv4, as the C library does. */
void hosts_find(const hosts *h, const uint8_t *wire, int family, answer *a);

/* Adds the names of an address to the answer, as PTR records, the first one first. */
void hosts_find_names(const hosts *h, int family, const uint8_t *ip, answer *a);

#endif
