/*
 * Domain names, in the form they have on the wire: labels with their lengths before them, ended by
 * an empty one. Everything inside the resolver uses that form, in lower case, so that two names are
 * the same if their bytes are.
 */
#ifndef LINKS_MODULES_DNS_NAME_H
#define LINKS_MODULES_DNS_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    NAME_MAX_WIRE = 255, /* RFC 1035, 2.3.4 */
    NAME_MAX_LABEL = 63,
    NAME_MAX_TEXT = 1024, /* every byte escaped as \ddd, and the terminator */
};

/* Reads a name as people write it, a dot at its end or not: letters, digits and -_/+*. Returns its
 * length on the wire, or -1 for what is no name. "." is the root. */
int name_from_text(uint8_t wire[static NAME_MAX_WIRE], const char *text, size_t len);

/* Writes a name without the last dot, bytes that are not plain as \. or \ddd (RFC 1035, 5.1), and
 * a terminator. Returns the length. */
size_t name_to_text(char text[static NAME_MAX_TEXT], const uint8_t *wire);

/* Reads the name at `at` in a message, compressed or not, and makes it lower case. Returns its
 * length, with *next behind it in the message; or -1 for a malformed one. */
int name_expand(uint8_t wire[static NAME_MAX_WIRE], const uint8_t *message, size_t len, size_t at,
                size_t *next);

/* Whether it could be a host's: letters, digits, - and _, and no label begins with -. */
bool name_is_host(const uint8_t *wire);

/* In lower case, whatever the locale. */
static inline uint8_t name_lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c | 32 : c; }

#endif
