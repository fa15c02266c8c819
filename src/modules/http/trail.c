#include "trail.h"

#include <errno.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "lua/sched.h"
#include "modules/metrics/memory.h"
#include "modules/net/lent.h"

_Static_assert(sizeof(((links_last_request *)0)->path) == TRAIL_TEXT, "a path is not longer");
_Static_assert(sizeof(http_trail_entry) == 128, "two lines of a cache");

/* --- the worker ------------------------------------------------------------------------------- */

http_trail *trail_own;
static uint32_t given;

int links_worker_trail(void)
{
    if (trail_own || !lent_active())
        return 0;
    int fd = lent_trail();
    if (fd < 0)
        return fd;
    trail_own = memory_map(fd, sizeof(*trail_own), NULL);
    int rc = trail_own ? 0 : -errno;
    close(fd);
    if (trail_own)
        sched_show(&trail_own->running);
    return rc;
}

http_trail_entry *trail_entry(void)
{
    if (!trail_own)
        return NULL;
    uint8_t number = given++ % TRAIL_ENTRIES;
    trail_own->entries[number].number = number;
    return &trail_own->entries[number];
}

/* --- the master ------------------------------------------------------------------------------- */

int trail_new(http_trail **trail)
{
    int fd = memory_open(sizeof(**trail));
    if (fd < 0)
        return fd;
    *trail = memory_map(fd, sizeof(**trail), NULL);
    if (*trail)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

void trail_free(http_trail *trail)
{
    if (trail)
        munmap(trail, sizeof(*trail));
}

/* The one whose task ran, or else the one that was begun last. */
static const http_trail_entry *find(const http_trail *t, links_last_request *last)
{
    const http_trail_entry *latest = NULL;
    for (int i = 0; i < TRAIL_ENTRIES; i++) {
        const http_trail_entry *e = &t->entries[i];
        if (!e->task)
            continue;
        last->under_way++;
        if (e->task == t->running)
            last->state = LINKS_LAST_RUNNING;
        if (!latest || e->task == t->running ||
            (latest->task != t->running && e->began_ns >= latest->began_ns))
            latest = e;
    }
    if (latest)
        return latest;
    const http_trail_entry *e = &t->entries[t->last % TRAIL_ENTRIES];
    return e->request ? e : NULL;
}

void trail_last(const http_trail *t, links_last_request *last)
{
    struct timespec now;
    *last = (links_last_request){.state = LINKS_LAST_NONE};
    const http_trail_entry *e = t ? find(t, last) : NULL;
    if (!e)
        return;
    if (last->state == LINKS_LAST_NONE)
        last->state = last->under_way ? LINKS_LAST_WAITING : LINKS_LAST_ANSWERED;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double ms = (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6 - (double)e->began_ns / 1e6;
    last->ms = ms > 0 ? ms : 0;
    last->method = e->method;
    /* Who has died may have written anything there. What follows the path may be a secret. */
    int max = e->len < TRAIL_TEXT ? e->len : TRAIL_TEXT;
    while (last->len < max && e->text[last->len] != '?' && e->text[last->len] != '#') {
        last->path[last->len] = e->text[last->len];
        last->len++;
    }
}
