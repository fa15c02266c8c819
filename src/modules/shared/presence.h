/*
 * Which processes are there: each holds a lock in shared memory for as long as it lives, so that
 * the others can tell, at once and without a doubt, whether it still does. A process id could not
 * say that: it may be somebody else's by now.
 */
#ifndef LINKS_MODULES_SHARED_PRESENCE_H
#define LINKS_MODULES_SHARED_PRESENCE_H

#include <stdint.h>

#include "base/err.h"

enum { PRESENCE_MAX = 1024 }; /* processes of one user */

typedef struct links_presence links_presence;

struct links_presence {
    int32_t slot;
    uint32_t serial; /* how many have had the slot before */
};

/* Enters this process, if it is not in yet, and tells its place. 0, LINKS_FULL, or -errno. */
LINKS_API int links_presence_enter(links_presence *me);

/* Whether the process of that place is there: 1 or 0. This one must have entered. */
LINKS_API int links_presence_is_here(int slot, uint32_t serial);

/* Leaves, at the end of the process or of a test. */
void presence_close(void);

#endif
