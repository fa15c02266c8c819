#include "modules/shared/lock.h"

#include <assert.h>
#include <errno.h>

/* macOS alone has no robust mutexes: a process that is killed at the wrong moment leaves its lock
 * behind there. */
#ifdef __APPLE__
#define pthread_mutexattr_setrobust(attributes, robust) 0
#define pthread_mutex_consistent(mutex)                 0
#endif

int shared_lock_init(shared_lock *l)
{
    pthread_mutexattr_t attributes;
    int rc = pthread_mutexattr_init(&attributes);
    if (rc)
        return -rc;
    rc = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (!rc)
        rc = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    if (!rc)
        rc = pthread_mutex_init(l, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return -rc;
}

int shared_lock_take(shared_lock *l)
{
    int rc = pthread_mutex_lock(l);
    assert(rc == 0 || rc == EOWNERDEAD);
    return rc == EOWNERDEAD ? LOCK_OWNER_DIED : 0;
}

int shared_lock_try(shared_lock *l)
{
    int rc = pthread_mutex_trylock(l);
    return rc == EOWNERDEAD ? LOCK_OWNER_DIED : -rc;
}

void shared_lock_mended(shared_lock *l)
{
    int rc = pthread_mutex_consistent(l);
    assert(rc == 0);
    (void)rc;
}

void shared_lock_give(shared_lock *l)
{
    int rc = pthread_mutex_unlock(l);
    assert(rc == 0);
    (void)rc;
}
