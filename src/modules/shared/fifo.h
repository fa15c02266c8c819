/*
 * A bounded queue of records in memory that processes share: first in, first out.
 *
 * What is put lies behind the tail until it is committed, and what is taken lies at the head until
 * it is dropped; each of the two is one store, so a process that is killed at any instruction has
 * put, or taken, the whole of a record or nothing of it. The caller holds the lock.
 */
#ifndef LINKS_MODULES_SHARED_FIFO_H
#define LINKS_MODULES_SHARED_FIFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "modules/shared/lock.h"

enum { FIFO_RECORD = 8 }; /* bytes of a record besides its own, which are rounded up to 8 */

typedef struct fifo {
    shared_lock lock;
    uint64_t size;       /* of the bytes, a multiple of 8 */
    uint64_t head, tail; /* bytes that were dropped and committed so far */
    uint64_t items;      /* between the two; counted anew after a death */
    uint64_t pushed;
    uint64_t recoveries;
    uint8_t bytes[];
} fifo;

/* Makes an empty one that takes up `size` bytes, all of it. 0 or -errno. */
int fifo_init(fifo *r, size_t size);

/* Whether what it says of itself fits into `size` bytes. */
bool fifo_is_sound(const fifo *r, size_t size);

/* Takes the lock, and mends what a process has left behind that died with it: true then. */
bool fifo_take(fifo *r);
void fifo_give(fifo *r);

/* The room that a record of `len` bytes takes, and what there is. */
size_t fifo_need(size_t len);
size_t fifo_room(const fifo *r);

/* Also without the lock, and then it may change at once. */
bool fifo_is_empty(const fifo *r);

/* Writes a record, for which there is room, where nobody sees it; then fifo_commit makes it the
 * last one. */
void fifo_put(fifo *r, uint32_t kind, const struct iovec *parts, int count);
void fifo_commit(fifo *r);

/* The first record's kind and length, and its bytes; there is one. fifo_drop removes it. */
uint32_t fifo_first(const fifo *r, size_t *len);
void fifo_read(const fifo *r, char *to);
void fifo_drop(fifo *r);

#endif
