#include "modules/shared/presence.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "modules/shared/lock.h"
#include "modules/shared/region.h"

typedef struct slot {
    shared_lock lock;
    uint32_t serial;
} slot;

static region memory = {.fd = -1};
static links_presence own = {.slot = -1};

static int on_first(region *r, bool fresh, void *arg)
{
    (void)fresh;
    (void)arg;
    slot *slots = (slot *)r->base;
    int rc = 0;
    for (int i = 0; i < PRESENCE_MAX && rc == 0; i++)
        rc = shared_lock_init(&slots[i].lock);
    return rc;
}

static int on_join(region *r, void *arg)
{
    (void)r;
    (void)arg;
    return 0;
}

static slot *slot_at(int i) { return (slot *)memory.base + i; }

/* Takes the lock of one who is not there: true then. */
static bool take(slot *s)
{
    int rc = shared_lock_try(&s->lock);
    if (rc == LOCK_OWNER_DIED)
        shared_lock_mended(&s->lock);
    return rc >= 0;
}

int links_presence_enter(links_presence *me)
{
    static const region_ops ops = {.first = on_first, .join = on_join};
    static const char name[] = "presence";
    if (memory.fd < 0) {
        int rc = region_open(&memory, region_path(name, sizeof(name) - 1),
                             PRESENCE_MAX * sizeof(slot), false, &ops, NULL);
        if (rc < 0)
            return rc;
    }
    for (int i = 0; own.slot < 0 && i < PRESENCE_MAX; i++)
        if (take(slot_at(i)))
            own = (links_presence){i, ++slot_at(i)->serial};
    *me = own;
    return own.slot < 0 ? LINKS_FULL : 0;
}

int links_presence_is_here(int number, uint32_t serial)
{
    if (memory.fd < 0 || number < 0 || number >= PRESENCE_MAX)
        return 0;
    if (number == own.slot)
        return serial == own.serial;
    slot *s = slot_at(number);
    if (s->serial != serial)
        return 0;
    if (!take(s))
        return 1;
    shared_lock_give(&s->lock);
    return 0;
}

void presence_close(void)
{
    if (own.slot >= 0)
        shared_lock_give(&slot_at(own.slot)->lock);
    own.slot = -1;
    region_close(&memory);
}
