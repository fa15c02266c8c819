/*
 * Queues between processes: a queue of records in shared memory (fifo.h), and who waits for it.
 *
 * A process that waits has a seat in the memory, with the address of its bell; its own tasks wait
 * in it. Who puts something rings for the process that has been seated longest before the item is
 * there, while the lock keeps everybody from looking: so there is no item that nobody was rung for.
 * A seat is given up by ringing for it. Whoever was rung may be killed before he comes: so each
 * process that waits looks by itself once in a second.
 *
 * Where a function says "parks", it returns LINKS_AGAIN with the coroutine parked: wait, and with
 * status 0 make the same call again.
 */
#ifndef LINKS_MODULES_SHARED_QUEUE_H
#define LINKS_MODULES_SHARED_QUEUE_H

#include <stddef.h>

#include "base/err.h"

enum { QUEUE_MIN_SIZE = 65536 };

typedef struct links_queue links_queue;

/* What the last call has found; the bytes stay until the next one. */
struct links_queue {
    const char *data;
    size_t len;
    double number;
};

/* Opens the queue `name` of this user's, of `*size` bytes in all. NULL, and a code in *rc:
 * LINKS_EXISTS (it is there with another size, which goes to *size), EACCES, ENOSPC, ENOMEM,
 * EMFILE, ... */
LINKS_API links_queue *links_queue_open(const char *name, size_t name_len, double *size, int *rc);
LINKS_API void links_queue_free(links_queue *q);

/* Puts a value at the end; its types are those of dict.h. While there is no room it waits for
 * `timeout_ms` (0: as long as it takes; less: not at all). 0, LINKS_FULL, LINKS_TOO_LARGE, -EMFILE
 * and the like where it cannot wait. Parks. */
LINKS_API int links_queue_push(links_queue *q, int type, const char *data, size_t len,
                               double number, double timeout_ms);

/* Takes the first value: its type, and what it is in `q`. Waits as links_queue_push; -ETIMEDOUT.
 * Parks. */
LINKS_API int links_queue_pop(links_queue *q, double timeout_ms);

/* out: items, free and capacity in bytes, pushed so far, recoveries. */
LINKS_API void links_queue_stats(links_queue *q, double out[5]);

/* Removes everything: how many. */
LINKS_API double links_queue_flush(links_queue *q);

#endif
