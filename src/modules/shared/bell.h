/*
 * How one process wakes another: a datagram over loopback, with the number of what is to be woken.
 * Whoever sends one can make somebody look once more at shared memory, and nothing else; what is
 * waited for is always there, never in the datagram.
 */
#ifndef LINKS_MODULES_SHARED_BELL_H
#define LINKS_MODULES_SHARED_BELL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

typedef struct bell bell;

struct bell {
    list link;
    void (*rung)(bell *b); /* in the loop's events step, or from within bell_ring */
    uint32_t number;
    bool started;
};

/* Where it is rung: a port of loopback, and the number there. */
typedef struct bell_address {
    uint32_t port, number;
} bell_address;

/* Begins to listen; twice is once. It does not keep the process alive. 0 or -errno. */
int bell_start(bell *b, void (*rung)(bell *b));
void bell_stop(bell *b);

bell_address bell_where(const bell *b);

/* Rings elsewhere. It does not wait, and what cannot be sent is lost, as datagrams are. */
void bell_ring(bell_address at);

/* At the end of the process. */
void bell_close(void);

#endif
