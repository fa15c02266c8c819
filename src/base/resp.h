/*
 * The replies of Redis (RESP2 and RESP3) as bytes: finds where one ends, however it was cut, and
 * refuses what is none before anything is made of it. What has been found whole can be walked
 * without a further look at its form.
 *
 * A scan remembers where it is, so that bytes are looked at once: the payload of a bulk string
 * not at all.
 *
 * https://redis.io/docs/latest/develop/reference/protocol-spec/
 */
#ifndef LINKS_BASE_RESP_H
#define LINKS_BASE_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RESP_DEPTH_MAX = 64,    /* of replies within replies, whatever the limit says */
    RESP_LINE_MAX = 131072, /* bytes of a simple string, an error or a number */
};

typedef struct resp_limits {
    size_t size;       /* bytes of a reply */
    uint32_t elements; /* of all the aggregates in it */
    int depth;         /* 0: no aggregates; RESP_DEPTH_MAX at most */
} resp_limits;

typedef struct resp_scan {
    resp_limits limits;
    size_t at;   /* of the first byte that is not scanned */
    size_t seen; /* there is no end of a line before */
    uint32_t elements;
    int depth;
    const char *fault; /* after a failure: what was wrong */
    struct {
        uint32_t left;  /* elements that are still to come */
        bool attribute; /* it is no value itself, but says something of the next one */
    } levels[RESP_DEPTH_MAX];
} resp_scan;

/* Begins a reply. Called once; the scan begins the next one by itself. */
void resp_scan_init(resp_scan *s, const resp_limits *limits);

/* Scans on. `data` begins with the first byte of the reply, and all that was there at the last
 * call still is. Returns the reply's length once it is whole; 0: more is needed; LINKS_PROTOCOL,
 * LINKS_TOO_LARGE with s->fault set, and the connection is of no more use. */
ptrdiff_t resp_scan_run(resp_scan *s, const char *data, size_t len);

/* The line that `*at` is in, without its CR LF, behind which `*at` is put. For replies that are
 * whole. */
typedef struct resp_line {
    const char *text;
    size_t len;
} resp_line;
resp_line resp_take_line(const char **at);

/* The integer of a line that has been scanned. */
int64_t resp_integer(resp_line line);

#endif
