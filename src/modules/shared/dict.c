#include "modules/shared/dict.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "modules/shared/region.h"
#include "modules/shared/shard.h"

enum { PAGE = 4096, REAP = 2 };

static const char MAGIC[8] = "linksD2";

/* The first page of the memory; the shards follow. */
typedef struct header {
    char magic[8];
    uint64_t size, shard_size;
    uint64_t seed;
    int64_t clock_base; /* added to the monotonic clock: ms since 1970 when it was opened first */
    uint32_t shards, evict;
} header;

typedef struct dict {
    links_dict view; /* first: Lua's pointer is ours */
    region region;
    header *header;
    char *scratch;
    size_t scratch_size;
    uint32_t shards, evict;           /* as asked for */
    uint64_t hits, misses, evictions; /* of this process */
} dict;

static dict *dict_of(links_dict *d) { return (dict *)d; }

static int64_t clock_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t now_ms(const dict *d) { return clock_ms(CLOCK_MONOTONIC) + d->header->clock_base; }

static int64_t expiry(const dict *d, double ttl)
{
    return ttl > 0 ? now_ms(d) + (int64_t)ceil(ttl) : 0;
}

/* Mixes 8 bytes at a time, so that a long key costs little; the seed is the dictionary's own, so
 * that nobody outside can choose keys that fall into one bucket. */
static uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_of(const char *bytes, size_t len, uint64_t seed)
{
    uint64_t h = seed ^ len * 0x9e3779b97f4a7c15u, word;
    for (; len > 8; len -= 8, bytes += 8) {
        memcpy(&word, bytes, 8);
        h = mix(h ^ word, 0xd6e8feb86659fd93u ^ seed);
    }
    word = 0;
    memcpy(&word, bytes, len);
    h = mix(h ^ word, 0xa0761d6478bd642fu ^ seed);
    return mix(h, 0xe7037ed1a0b428dbu);
}

/* --- opening --------------------------------------------------------------------------------- */

static shard *shard_at(const dict *d, uint32_t i)
{
    return (shard *)(d->region.base + PAGE + i * d->header->shard_size);
}

/* As many shards as asked for, or as many as are not too small. */
static void lay_out(dict *d)
{
    header *h = d->header;
    size_t room = d->region.size - PAGE;
    uint32_t shards = d->shards;
    while (shards > 1 && room / shards < DICT_MIN_SHARD)
        shards /= 2;
    *h = (header){
        .size = d->region.size,
        .shard_size = room / shards / BLOCK_SIZE * BLOCK_SIZE,
        .shards = shards,
        .evict = d->evict,
    };
    if (getentropy(&h->seed, sizeof(h->seed)) < 0)
        h->seed = (uint64_t)clock_ms(CLOCK_REALTIME) << 20 ^ (uint64_t)getpid();
}

static bool is_sound(const dict *d)
{
    const header *h = d->header;
    if (memcmp(h->magic, MAGIC, sizeof(MAGIC)) != 0 || h->size != d->region.size || !h->shards ||
        h->shards > DICT_MAX_SHARDS || h->shard_size < shard_least_size() ||
        h->shard_size % BLOCK_SIZE || h->shard_size > (h->size - PAGE) / h->shards)
        return false;
    for (uint32_t i = 0; i < h->shards; i++)
        if (!shard_is_sound(shard_at(d, i), h->shard_size))
            return false;
    return true;
}

static int on_first(region *r, bool fresh, void *arg)
{
    dict *d = arg;
    d->header = (header *)r->base;
    if (fresh)
        lay_out(d);
    else if (!is_sound(d))
        return LINKS_PARSE;
    for (uint32_t i = 0; i < d->header->shards; i++) {
        shard *s = shard_at(d, i);
        int rc =
            fresh ? shard_init(s, d->header->shard_size, d->evict) : shared_lock_init(&s->lock);
        if (rc < 0)
            return rc;
        if (!fresh)
            shard_recover(s);
    }
    d->header->clock_base = clock_ms(CLOCK_REALTIME) - clock_ms(CLOCK_MONOTONIC);
    memcpy(d->header->magic, MAGIC, sizeof(MAGIC));
    return 0;
}

static int on_join(region *r, void *arg)
{
    dict *d = arg;
    d->header = (header *)r->base;
    if (!is_sound(d))
        return LINKS_PARSE;
    return d->header->evict == d->evict ? 0 : LINKS_EXISTS;
}

links_dict *links_dict_open(const char *name, size_t name_len, const char *file, size_t file_len,
                            double *size, int shards, int evict, int *rc)
{
    static const region_ops ops = {.first = on_first, .join = on_join};
    dict *d = mem_new(dict);
    d->shards = (uint32_t)shards;
    d->evict = evict != 0;
    char *path;
    if (file_len) {
        path = mem_zalloc(file_len + 1);
        memcpy(path, file, file_len);
    } else {
        path = region_path(name, name_len);
    }
    *rc = region_open(&d->region, path, (size_t)*size, file_len > 0, &ops, d);
    if (*rc < 0) {
        *size = (double)d->region.size;
        mem_free(d);
        return NULL;
    }
    return &d->view;
}

void links_dict_free(links_dict *view)
{
    dict *d = dict_of(view);
    region_close(&d->region);
    mem_free(d->scratch);
    mem_free(d);
}

/* --- a key's shard --------------------------------------------------------------------------- */

static shard *take(dict *d, const char *bytes, size_t len, shard_key *key)
{
    uint64_t h = hash_of(bytes, len, d->header->seed);
    *key = (shard_key){bytes, (uint32_t)len, (uint32_t)h};
    shard *s = shard_at(d, (uint32_t)(((h >> 32) * d->header->shards) >> 32));
    if (shared_lock_take(&s->lock) == LOCK_OWNER_DIED) {
        shard_recover(s);
        shared_lock_mended(&s->lock);
    }
    return s;
}

static shard *take_number(dict *d, uint32_t i)
{
    shard *s = shard_at(d, i);
    if (shared_lock_take(&s->lock) == LOCK_OWNER_DIED) {
        shard_recover(s);
        shared_lock_mended(&s->lock);
    }
    return s;
}

static void give(shard *s) { shared_lock_give(&s->lock); }

static bool is_over(const dict *d, const block *b) { return b->expires && b->expires <= now_ms(d); }

/* The item that is there and has not expired, or 0. */
static uint32_t find_live(const dict *d, shard *s, const shard_key *key)
{
    uint32_t item = shard_find(s, key);
    return item && !is_over(d, shard_block(s, item)) ? item : 0;
}

static char *scratch(dict *d, size_t size)
{
    if (size > d->scratch_size) {
        d->scratch = mem_realloc(d->scratch, size);
        d->scratch_size = size;
    }
    return d->scratch;
}

/* A value's bytes are copied: they may be gone when the lock is. */
static int show(dict *d, shard *s, const block *b)
{
    char *copy = scratch(d, b->len ? b->len : 1);
    shard_read(s, b, copy);
    d->view.data = copy;
    d->view.len = b->len;
    d->view.number = b->number;
    d->view.version = (double)b->version;
    return b->type;
}

static void show_life(dict *d, const block *b)
{
    d->view.ttl = b->expires ? (double)(b->expires - now_ms(d)) : -1;
    d->view.expired = b->expires && d->view.ttl <= 0;
}

/* --- the operations -------------------------------------------------------------------------- */

int links_dict_get(links_dict *view, const char *bytes, size_t len, int stale)
{
    dict *d = dict_of(view);
    shard_key key;
    shard *s = take(d, bytes, len, &key);
    uint32_t item = shard_find(s, &key);
    block *b = item ? shard_block(s, item) : NULL;
    if (b)
        show_life(d, b);
    int rc = LINKS_NOT_FOUND;
    if (b && (stale || !view->expired)) {
        rc = show(d, s, b);
        shard_use(s, item);
        s->hits++;
        d->hits++;
    } else {
        s->misses++;
        d->misses++;
    }
    give(s);
    return rc;
}

/* Whether the mode allows it, seeing what is there. */
static int permit(const block *b, int mode, double version)
{
    if (mode == DICT_ADD && b)
        return LINKS_EXISTS;
    if (mode == DICT_REPLACE && !b)
        return LINKS_NOT_FOUND;
    if (mode == DICT_SAME_VERSION && (!b || (double)b->version != version))
        return LINKS_EXISTS;
    return 0;
}

/* What has expired at the end of the order of use goes bit by bit, with every put. */
static void reap(shard *s, int64_t now, uint32_t keep)
{
    for (int i = 0; i < REAP && s->earliest <= now && s->oldest; i++) {
        block *b = shard_block(s, s->oldest);
        if (s->oldest == keep || !b->expires || b->expires > now)
            return;
        shard_remove(s, s->oldest);
    }
}

static int64_t put(dict *d, shard *s, const shard_key *key, const shard_value *value, uint32_t old,
                   double ttl, bool may_evict)
{
    int64_t now = s->earliest == INT64_MAX && ttl <= 0 ? 0 : now_ms(d);
    uint64_t evictions = s->evictions;
    reap(s, now, old);
    int64_t item =
        shard_put(s, key, value, old, ttl > 0 ? now + (int64_t)ceil(ttl) : 0, now, may_evict);
    d->evictions += s->evictions - evictions;
    return item;
}

int links_dict_put(links_dict *view, const char *bytes, size_t key_len, int type, const char *data,
                   size_t len, double number, double ttl, int mode, double version)
{
    dict *d = dict_of(view);
    if (len > UINT32_MAX - UINT16_MAX)
        return LINKS_TOO_LARGE;
    shard_value value = {data, (uint32_t)len, (uint8_t)type, number};
    shard_key key;
    shard *s = take(d, bytes, key_len, &key);
    uint32_t old = shard_find(s, &key);
    block *b = old ? shard_block(s, old) : NULL;
    int rc = permit(b && !is_over(d, b) ? b : NULL, mode, version);
    if (rc == 0 && b && b->type == DICT_NUMBER && type == DICT_NUMBER && !b->expires && ttl <= 0) {
        /* A number in the place of a number: one store. */
        b->number = number;
        b->version = ++s->version;
        shard_use(s, old);
    } else if (rc == 0) {
        int64_t item = put(d, s, &key, &value, old, ttl, mode != DICT_SET_SAFE);
        rc = item < 0 ? (int)item : 0;
    }
    give(s);
    return rc;
}

int links_dict_delete(links_dict *view, const char *bytes, size_t len, double version)
{
    dict *d = dict_of(view);
    shard_key key;
    shard *s = take(d, bytes, len, &key);
    uint32_t item = shard_find(s, &key);
    const block *b = item ? shard_block(s, item) : NULL;
    bool was_there = b && !is_over(d, b);
    int rc = was_there ? 0 : LINKS_NOT_FOUND;
    if (version != 0 && was_there && (double)b->version != version)
        rc = LINKS_EXISTS;
    else if (item)
        shard_remove(s, item);
    give(s);
    return rc;
}

int links_dict_incr(links_dict *view, const char *bytes, size_t len, double by, int has_init,
                    double init, double ttl)
{
    dict *d = dict_of(view);
    shard_key key;
    shard *s = take(d, bytes, len, &key);
    uint32_t old = shard_find(s, &key);
    block *b = old && !is_over(d, shard_block(s, old)) ? shard_block(s, old) : NULL;
    int rc = 0;
    if (b && b->type != DICT_NUMBER) {
        rc = LINKS_TYPE;
    } else if (b) {
        b->number += by;
        b->version = ++s->version;
        shard_use(s, old);
        view->number = b->number;
    } else if (!has_init) {
        rc = LINKS_NOT_FOUND;
    } else {
        view->number = init + by;
        shard_value value = {NULL, 0, DICT_NUMBER, view->number};
        int64_t item = put(d, s, &key, &value, old, ttl, true);
        rc = item < 0 ? (int)item : 0;
    }
    give(s);
    return rc;
}

/* What is kept is the time at which all is there again, in ms with their fractions. */
int links_dict_rate(links_dict *view, const char *bytes, size_t len, double interval, double burst,
                    double cost)
{
    dict *d = dict_of(view);
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    double now = (double)(t.tv_sec * 1000 + d->header->clock_base) + (double)t.tv_nsec / 1e6;
    shard_key key;
    shard *s = take(d, bytes, len, &key);
    uint32_t item = find_live(d, s, &key);
    block *b = item ? shard_block(s, item) : NULL;
    int rc = b && b->type != DICT_NUMBER ? LINKS_TYPE : 1;
    double used = b && rc == 1 && b->number > now ? b->number - now : 0;
    double wait = used + cost * interval - burst * interval;
    if (rc == 1 && wait > 0) {
        rc = 0;
    } else if (rc == 1) {
        used += cost * interval;
        if (b) {
            b->number = now + used;
            b->expires = (int64_t)ceil(now + used);
            b->version = ++s->version;
            shard_use(s, item);
        } else if (used > 0) {
            /* Its time of life begins with a whole millisecond, which may be nearly over. */
            shard_value value = {NULL, 0, DICT_NUMBER, now + used};
            int64_t made = put(d, s, &key, &value, shard_find(s, &key), used + 1, true);
            rc = made < 0 ? (int)made : 1;
        }
    }
    give(s);
    double left = (burst * interval - used) / interval;
    view->number = left > 0 ? floor(left + 1e-9) : 0;
    view->ttl = rc == 0 ? wait : 0;
    view->version = used;
    return rc;
}

int links_dict_ttl(links_dict *view, const char *bytes, size_t len)
{
    dict *d = dict_of(view);
    shard_key key;
    shard *s = take(d, bytes, len, &key);
    uint32_t item = find_live(d, s, &key);
    if (item)
        show_life(d, shard_block(s, item));
    give(s);
    return item ? 0 : LINKS_NOT_FOUND;
}

int links_dict_expire(links_dict *view, const char *bytes, size_t len, double ttl)
{
    dict *d = dict_of(view);
    shard_key key;
    shard *s = take(d, bytes, len, &key);
    uint32_t item = find_live(d, s, &key);
    if (item) {
        block *b = shard_block(s, item);
        b->expires = expiry(d, ttl);
        if (b->expires && b->expires < s->earliest)
            s->earliest = b->expires;
    }
    give(s);
    return item ? 0 : LINKS_NOT_FOUND;
}

/* --- lists ----------------------------------------------------------------------------------- */

int links_dict_push(links_dict *view, const char *bytes, size_t key_len, int type, const char *data,
                    size_t len, double number, int left)
{
    dict *d = dict_of(view);
    if (len > UINT32_MAX - UINT16_MAX)
        return LINKS_TOO_LARGE;
    shard_value value = {data, (uint32_t)len, (uint8_t)type, number};
    shard_key key;
    shard *s = take(d, bytes, key_len, &key);
    uint32_t old = shard_find(s, &key);
    bool is_there = old && !is_over(d, shard_block(s, old));
    int64_t item = old;
    if (!is_there) {
        shard_value list = {NULL, 0, DICT_LIST, 0};
        item = put(d, s, &key, &list, old, 0, true);
    } else if (shard_block(s, old)->type != DICT_LIST) {
        item = LINKS_TYPE;
    }
    uint64_t evictions = s->evictions;
    int rc = item < 0 ? (int)item : shard_push(s, (uint32_t)item, &value, left, now_ms(d));
    d->evictions += s->evictions - evictions;
    if (item > 0) {
        view->number = shard_block(s, (uint32_t)item)->number;
        shard_use(s, (uint32_t)item);
        /* A list that is empty is none. */
        if (rc < 0 && view->number == 0)
            shard_remove(s, (uint32_t)item);
    }
    give(s);
    return rc;
}

int links_dict_pop(links_dict *view, const char *bytes, size_t len, int left)
{
    dict *d = dict_of(view);
    shard_key key;
    shard *s = take(d, bytes, len, &key);
    uint32_t item = find_live(d, s, &key);
    int rc = LINKS_NOT_FOUND;
    if (item && shard_block(s, item)->type != DICT_LIST) {
        rc = LINKS_TYPE;
    } else if (item) {
        uint32_t element = shard_end(s, item, left);
        rc = element ? show(d, s, shard_block(s, element)) : LINKS_NOT_FOUND;
        if (element)
            shard_pop(s, item, left);
        if (!shard_block(s, item)->first)
            shard_remove(s, item);
        else
            shard_use(s, item);
    }
    give(s);
    return rc;
}

int links_dict_len(links_dict *view, const char *bytes, size_t len)
{
    dict *d = dict_of(view);
    shard_key key;
    shard *s = take(d, bytes, len, &key);
    uint32_t item = find_live(d, s, &key);
    const block *b = item ? shard_block(s, item) : NULL;
    int rc = b && b->type != DICT_LIST ? LINKS_TYPE : 0;
    view->number = b && rc == 0 ? b->number : 0;
    give(s);
    return rc;
}

/* --- the whole ------------------------------------------------------------------------------- */

/* One shard's keys behind what is there; returns how many. */
static int list_keys(dict *d, shard *s, int max, size_t *used)
{
    int count = 0;
    int64_t now = now_ms(d);
    for (uint32_t item = s->newest; item && count < max;) {
        const block *b = shard_block(s, item);
        if (!b->expires || b->expires > now) {
            uint32_t len = b->key_len;
            if (*used + sizeof(len) + len > d->scratch_size)
                scratch(d, (*used + sizeof(len) + len) * 2);
            memcpy(d->scratch + *used, &len, sizeof(len));
            shard_read_key(s, b, d->scratch + *used + sizeof(len));
            *used += sizeof(len) + len;
            count++;
        }
        item = b->older;
    }
    return count;
}

int links_dict_keys(links_dict *view, int max)
{
    dict *d = dict_of(view);
    int count = 0;
    size_t used = 0;
    for (uint32_t i = 0; i < d->header->shards && count < max; i++) {
        shard *s = take_number(d, i);
        count += list_keys(d, s, max - count, &used);
        give(s);
    }
    view->data = d->scratch;
    view->len = used;
    return count;
}

double links_dict_flush(links_dict *view, int only_expired)
{
    dict *d = dict_of(view);
    double count = 0;
    for (uint32_t i = 0; i < d->header->shards; i++) {
        shard *s = take_number(d, i);
        count += (double)shard_sweep(s, now_ms(d), !only_expired);
        give(s);
    }
    return count;
}

void links_dict_stats(links_dict *view, double out[7])
{
    dict *d = dict_of(view);
    memset(out, 0, 7 * sizeof(*out));
    for (uint32_t i = 0; i < d->header->shards; i++) {
        shard *s = take_number(d, i);
        out[0] += (double)s->blocks * BLOCK_SIZE;
        out[1] += (double)(s->free_count + s->blocks + 1 - s->untouched) * BLOCK_SIZE;
        out[2] += (double)s->items;
        out[3] += (double)s->hits;
        out[4] += (double)s->misses;
        out[5] += (double)s->evictions;
        out[6] += (double)s->recoveries;
        give(s);
    }
}

void links_dict_counts(const links_dict *view, double out[3])
{
    const dict *d = (const dict *)view;
    out[0] = (double)d->hits;
    out[1] = (double)d->misses;
    out[2] = (double)d->evictions;
}
