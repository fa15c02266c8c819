/*
 * A ring of bytes between two threads: one puts, one takes, and neither waits for the other. What
 * is put appears as a whole, so the taker never sees half a line.
 */
#ifndef LINKS_MODULES_LOG_RING_H
#define LINKS_MODULES_LOG_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

typedef struct ring {
    char *data;
    uint64_t size; /* a power of two */
    /* Positions only grow. Each side's are in a cache line of their own. */
    char padding[64];
    uint64_t head;      /* of the next byte to put; written by the putter */
    uint64_t tail_seen; /* the putter's last look at `tail` */
    char more_padding[64];
    uint64_t tail; /* of the next byte to take; written by the taker */
} ring;

/* Room for `size` bytes, rounded up to a power of two. */
void ring_init(ring *r, size_t size);
void ring_deinit(ring *r);

/* Puts both pieces, one behind the other, or nothing: false where they do not fit now. */
bool ring_put(ring *r, const void *a, size_t a_len, const void *b, size_t b_len);

/* Bytes that have been put and not taken; either side may ask. */
size_t ring_used(const ring *r);

/* What is there to take, in two pieces at most: how many bytes in all. */
size_t ring_peek(const ring *r, struct iovec iov[2]);

/* Copies `len` bytes from `at` bytes behind the next one to take. */
void ring_copy(const ring *r, size_t at, void *out, size_t len);

/* Takes `len` bytes. */
void ring_skip(ring *r, size_t len);

#endif
