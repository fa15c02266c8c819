/* A lock in shared memory, which tells when its owner has died with it. */
#ifndef LINKS_MODULES_SHARED_LOCK_H
#define LINKS_MODULES_SHARED_LOCK_H

#include <pthread.h>

typedef pthread_mutex_t shared_lock;

enum { LOCK_OWNER_DIED = 1 };

/* 0 or -errno. Nobody may hold it or wait for it. */
int shared_lock_init(shared_lock *l);

/* Waits for it. 0, or LOCK_OWNER_DIED: the caller has it, and mends what it guards. Where the
 * caller dies at that, the next one gets this answer again. */
int shared_lock_take(shared_lock *l);

/* As shared_lock_take, but -EBUSY where somebody has it. */
int shared_lock_try(shared_lock *l);

/* What it guards has been mended. */
void shared_lock_mended(shared_lock *l);

void shared_lock_give(shared_lock *l);

#endif
