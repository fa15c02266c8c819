#include "modules/metrics/metrics.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "modules/metrics/memory.h"
#include "modules/net/lent.h"
#include "modules/shared/lock.h"

enum {
    SLAB_SIZE = 1048576, /* whole pages, on any system */
    HEAD_SIZE = 256,
    CELLS = 49152,
    RECORDS_SIZE = SLAB_SIZE - HEAD_SIZE - CELLS * 8,
    WORKERS_MAX = 1024,
    ALIGN = 8,
};

/* Two for each worker, because those of a reload are there side by side, and the master's. */
static int slabs_for(int workers) { return workers > 0 ? 2 * workers + 2 : 1; }

typedef struct slab {
    union {
        struct {
            shared_lock lock;
            uint32_t cells; /* used */
            uint32_t to;    /* the end of the records; atomic */
            int32_t alive;
        };
        char head[HEAD_SIZE];
    };
    double cell[CELLS];
    char records[RECORDS_SIZE];
} slab;

_Static_assert(sizeof(slab) == SLAB_SIZE, "a slab is whole pages");

static struct {
    slab *slabs;
    int n;
    int fd;             /* of the memory, in the process that lends it; -1 */
    slab *own;          /* NULL: not opened */
    uint32_t inherited; /* the end of the records that were there when it was taken */
} all = {.fd = -1};

/* A record is never at 0, which says that there is none. */
static uint32_t first(void) { return ALIGN; }

/* --- the memory ------------------------------------------------------------------------------- */

static size_t size_of(int n) { return (size_t)n * sizeof(slab); }

static int init(slab *slabs, int n)
{
    for (int i = 0; i < n; i++) {
        int rc = shared_lock_init(&slabs[i].lock);
        if (rc < 0)
            return rc;
        slabs[i].to = first();
    }
    return 0;
}

/* A process by itself becomes a master: its slab goes on as the first of its cluster's, in the
 * place where it is, for there are pointers to its cells. */
static int move_own(int fd, slab *to)
{
    memcpy(to, all.own, sizeof(slab));
    return memory_map(fd, sizeof(slab), all.own) ? 0 : -errno;
}

static int map(int fd, int n, bool fresh)
{
    slab *slabs = memory_map(fd, size_of(n), NULL);
    if (!slabs)
        return -errno;
    int kept = all.own ? 1 : 0;
    int rc = fresh ? init(slabs + kept, n - kept) : 0;
    if (rc == 0 && kept)
        rc = move_own(fd, slabs);
    if (rc < 0) {
        munmap(slabs, size_of(n));
        return rc;
    }
    all.slabs = slabs;
    all.n = n;
    return 0;
}

int metrics_lend(int workers)
{
    if (all.fd >= 0)
        return all.fd;
    if (workers < 1 || workers > WORKERS_MAX)
        return -EINVAL;
    int n = slabs_for(workers);
    int fd = memory_open(size_of(n));
    if (fd < 0)
        return fd;
    int rc = map(fd, n, true);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    all.fd = fd;
    return fd;
}

/* The cluster's, from the master. */
static int borrow(int workers)
{
    struct stat about;
    int fd = lent_memory(workers);
    if (fd < 0)
        return fd;
    int n = fstat(fd, &about) < 0 ? 0 : (int)((size_t)about.st_size / sizeof(slab));
    int rc = n > 0 ? map(fd, n, false) : -EPROTO;
    close(fd);
    return rc;
}

/* Of a process by itself. */
static int make_own(void)
{
    void *base = mmap(NULL, size_of(1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (base == MAP_FAILED)
        return -errno;
    all.slabs = base;
    all.n = 1;
    return init(all.slabs, 1);
}

/* --- the slab --------------------------------------------------------------------------------- */

static const links_metric *record(const slab *s, uint32_t at)
{
    return (const links_metric *)(s->records + at);
}

static bool is_gauge(const links_metric *family)
{
    return family->kind >= LINKS_METRIC_SUM && family->kind <= LINKS_METRIC_MIN;
}

/* Gauges are of a process that is there; what was counted stays. */
static void forget_gauges(slab *s)
{
    const links_metric *r;
    for (uint32_t at = first(); at < s->to; at += r->size) {
        r = record(s, at);
        if (r->family && is_gauge(record(s, r->family)))
            s->cell[r->cell] = 0;
    }
}

static void take(slab *s)
{
    all.own = s;
    all.inherited = s->to;
    forget_gauges(s);
    s->alive = 1;
}

static int take_one(void)
{
    for (int i = 0; i < all.n; i++) {
        int rc = shared_lock_try(&all.slabs[i].lock);
        if (rc < 0)
            continue;
        if (rc == LOCK_OWNER_DIED)
            shared_lock_mended(&all.slabs[i].lock);
        take(&all.slabs[i]);
        return 0;
    }
    return LINKS_FULL;
}

int links_metrics_open(int workers)
{
    int failure = 0, rc = 0;
    if (all.own)
        return 0;
    if (!all.slabs && lent_active())
        failure = borrow(workers);
    else if (!all.slabs && workers > 0)
        failure = metrics_lend(workers);
    if (!all.slabs)
        rc = make_own();
    if (rc == 0)
        rc = take_one();
    return failure < 0 ? failure : rc;
}

void metrics_close(void)
{
    if (all.own) {
        all.own->alive = 0;
        shared_lock_give(&all.own->lock);
    }
    bool moved = all.own && (all.own < all.slabs || all.own >= all.slabs + all.n);
    if (moved)
        munmap(all.own, sizeof(slab));
    if (all.slabs)
        munmap(all.slabs, size_of(all.n));
    if (all.fd >= 0)
        close(all.fd);
    all.slabs = NULL;
    all.own = NULL;
    all.fd = -1;
    all.n = 0;
}

/* Its owner is there, or died just now: then it is noted. Ours is, by its lock, wherever we have
 * mapped it. */
static bool is_alive(slab *s)
{
    if (!s->alive)
        return false;
    int rc = shared_lock_try(&s->lock);
    if (rc < 0)
        return true;
    if (rc == LOCK_OWNER_DIED)
        shared_lock_mended(&s->lock);
    s->alive = 0;
    shared_lock_give(&s->lock);
    return false;
}

int links_metrics_slab(int nth, links_slab *out)
{
    if (nth >= all.n)
        return 0;
    slab *s = &all.slabs[nth];
    *out = (links_slab){
        .records = s->records,
        .cells = s->cell,
        .from = first(),
        .to = __atomic_load_n(&s->to, __ATOMIC_ACQUIRE),
        .alive = is_alive(s),
    };
    return 1;
}

/* --- records ---------------------------------------------------------------------------------- */

static uint32_t cells_of(const links_metric *family)
{
    return family->kind == LINKS_METRIC_HISTOGRAM ? family->nbounds + 2u : 1;
}

/* The place of the record behind all others, `size` bytes without its head. NULL: no room. */
static links_metric *append(slab *s, size_t size)
{
    size = (sizeof(links_metric) + size + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (s->to + size > RECORDS_SIZE)
        return NULL;
    links_metric *r = (links_metric *)(s->records + s->to);
    memset(r, 0, sizeof(*r));
    r->size = (uint32_t)size;
    return r;
}

static int publish(slab *s, const links_metric *r)
{
    uint32_t at = s->to;
    __atomic_store_n(&s->to, at + r->size, __ATOMIC_RELEASE);
    return (int)at;
}

static bool is_family(const links_metric *r, int kind, const char *name, size_t len,
                      const double *bounds, int nbounds)
{
    size_t skip = r->nbounds * sizeof(double);
    return !r->family && r->kind == kind && r->len == len && r->nbounds == nbounds &&
           memcmp(r->bytes + skip, name, len) == 0 &&
           (!nbounds || memcmp(r->bytes, bounds, skip) == 0);
}

int links_metrics_family(int kind, const char *name, size_t len, const char *help, size_t help_len,
                         const double *bounds, int nbounds)
{
    slab *s = all.own;
    if (len > UINT16_MAX || help_len > UINT16_MAX || nbounds < 0 || nbounds > UINT16_MAX)
        return LINKS_TOO_LARGE;
    if (!s)
        return LINKS_FULL;
    const links_metric *known;
    for (uint32_t at = first(); at < s->to; at += known->size) {
        known = record(s, at);
        if (is_family(known, kind, name, len, bounds, nbounds))
            return (int)at;
    }
    size_t skip = (size_t)nbounds * sizeof(double);
    links_metric *r = append(s, skip + len + help_len);
    if (!r)
        return LINKS_FULL;
    r->kind = (uint16_t)kind;
    r->nbounds = (uint16_t)nbounds;
    r->len = (uint16_t)len;
    r->help_len = (uint16_t)help_len;
    if (nbounds)
        memcpy(r->bytes, bounds, skip);
    memcpy(r->bytes + skip, name, len);
    memcpy(r->bytes + skip + len, help, help_len);
    return publish(s, r);
}

double *links_metrics_series(int family, const char *labels, size_t len)
{
    slab *s = all.own;
    if (!s || family < 0 || len > UINT16_MAX)
        return NULL;
    /* What this process itself has added, its callers remember. */
    const links_metric *known;
    for (uint32_t at = first(); at < all.inherited; at += known->size) {
        known = record(s, at);
        if (known->family == (uint32_t)family && known->len == len &&
            memcmp(known->bytes, labels, len) == 0)
            return &s->cell[known->cell];
    }
    uint32_t n = cells_of(record(s, (uint32_t)family));
    if (s->cells + n > CELLS)
        return NULL;
    links_metric *r = append(s, len);
    if (!r)
        return NULL;
    r->family = (uint32_t)family;
    r->cell = s->cells;
    r->len = (uint16_t)len;
    memcpy(r->bytes, labels, len);
    s->cells += n; /* first: a record never names cells that another may be given */
    publish(s, r);
    return &s->cell[r->cell];
}

/* A value on a bound belongs to the bucket below it. */
void links_metrics_observe(double *cells, const double *bounds, int nbounds, double value)
{
    int low = 0, high = nbounds;
    while (low < high) {
        int middle = (low + high) / 2;
        if (value <= bounds[middle])
            high = middle;
        else
            low = middle + 1;
    }
    cells[low] += 1;
    cells[nbounds + 1] += value;
}
