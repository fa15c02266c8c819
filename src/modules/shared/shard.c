#include "modules/shared/shard.h"

#include <limits.h>
#include <stdatomic.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

enum {
    LIST_TYPE = 2, /* DICT_LIST */
    HEAD_BYTES = BLOCK_SIZE - 64,
    MORE_BYTES = BLOCK_SIZE - 8,
    LOOK_AT = 16, /* blocks, for what has expired, with a put into a full shard */
};

_Static_assert(sizeof(block) == BLOCK_SIZE, "a block is one size everywhere");

/* The store by which a change takes effect: all that was written before it is there with it, and
 * nothing of what is written after it. */
static void commit(uint32_t *word, uint32_t value)
{
    atomic_store_explicit((_Atomic uint32_t *)word, value, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst); /* for the compiler: a death keeps what was stored */
}

/* --- where things are ------------------------------------------------------------------------ */

static size_t blocks_offset(uint32_t mask)
{
    size_t end = sizeof(shard) + ((size_t)mask + 1) * sizeof(uint32_t);
    return (end + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
}

block *shard_block(shard *s, uint32_t number)
{
    return (block *)((char *)s + blocks_offset(s->mask)) + (number - 1);
}

size_t shard_least_size(void) { return blocks_offset(15) + 16 * BLOCK_SIZE; }

static uint32_t *bucket_of(shard *s, uint32_t hash) { return &s->buckets[hash & s->mask]; }

static bool is_block(const shard *s, uint32_t number) { return number - 1 < s->untouched - 1; }

static uint32_t available(const shard *s) { return s->free_count + s->blocks + 1 - s->untouched; }

static size_t blocks_for(size_t bytes)
{
    return bytes <= HEAD_BYTES ? 1 : 1 + (bytes - HEAD_BYTES + MORE_BYTES - 1) / MORE_BYTES;
}

static size_t bytes_of(const block *head) { return (size_t)head->key_len + head->len; }

int shard_init(shard *s, size_t size, bool evicts)
{
    uint32_t mask = 15;
    while (mask < UINT32_MAX / 4 && (size_t)mask * 2 * BLOCK_SIZE * 2 < size)
        mask = mask * 2 + 1;
    size_t blocks = (size - blocks_offset(mask)) / BLOCK_SIZE;
    *s = (shard){
        .mask = mask,
        .blocks = blocks < UINT32_MAX - 1 ? (uint32_t)blocks : UINT32_MAX - 2,
        .untouched = 1,
        .evicts = evicts,
        .earliest = INT64_MAX,
    };
    return shared_lock_init(&s->lock);
}

bool shard_is_sound(const shard *s, size_t size)
{
    return (s->mask & (s->mask + 1)) == 0 && s->mask >= 15 && s->mask < UINT32_MAX / 2 &&
           blocks_offset(s->mask) <= size &&
           s->blocks <= (size - blocks_offset(s->mask)) / BLOCK_SIZE && s->untouched >= 1 &&
           s->untouched <= s->blocks + 1;
}

/* --- chains of blocks ------------------------------------------------------------------------ */

static uint32_t take_block(shard *s)
{
    uint32_t number = s->free;
    if (number) {
        s->free = shard_block(s, number)->more;
        s->free_count--;
    } else {
        number = s->untouched++;
    }
    shard_block(s, number)->kind = BLOCK_MORE;
    return number;
}

static void give_block(shard *s, uint32_t number)
{
    block *b = shard_block(s, number);
    b->kind = BLOCK_FREE;
    b->more = s->free;
    s->free = number;
    s->free_count++;
}

static void give_chain(shard *s, uint32_t number)
{
    while (number) {
        uint32_t more = shard_block(s, number)->more;
        give_block(s, number);
        number = more;
    }
}

static uint32_t take_chain(shard *s, size_t count)
{
    uint32_t head = 0;
    while (count--) {
        uint32_t number = take_block(s);
        shard_block(s, number)->more = head;
        head = number;
    }
    return head;
}

/* A place within a chain, from its head on. */
typedef struct place {
    shard *s;
    block *b;
    uint8_t *at;
    size_t room;
} place;

static place place_begin(shard *s, const block *head)
{
    block *b = (block *)head;
    return (place){s, b, b->bytes, HEAD_BYTES};
}

/* The bytes at the place, up to `len` of them; the place moves on behind them. */
static uint8_t *place_next(place *p, size_t len, size_t *part)
{
    if (!p->room) {
        p->b = shard_block(p->s, p->b->more);
        p->at = p->b->more_bytes;
        p->room = MORE_BYTES;
    }
    uint8_t *at = p->at;
    *part = len < p->room ? len : p->room;
    p->at += *part;
    p->room -= *part;
    return at;
}

static void place_write(place *p, const char *bytes, size_t len)
{
    while (len) {
        size_t part;
        uint8_t *at = place_next(p, len, &part);
        memcpy(at, bytes, part);
        bytes += part;
        len -= part;
    }
}

static void place_read(place *p, char *to, size_t len)
{
    while (len) {
        size_t part;
        uint8_t *at = place_next(p, len, &part);
        if (to) {
            memcpy(to, at, part);
            to += part;
        }
        len -= part;
    }
}

static bool place_equals(place *p, const char *bytes, size_t len)
{
    while (len) {
        size_t part;
        uint8_t *at = place_next(p, len, &part);
        if (memcmp(at, bytes, part) != 0)
            return false;
        bytes += part;
        len -= part;
    }
    return true;
}

void shard_read_key(shard *s, const block *head, char *to)
{
    place p = place_begin(s, head);
    place_read(&p, to, head->key_len);
}

void shard_read(shard *s, const block *head, char *to)
{
    place p = place_begin(s, head);
    place_read(&p, NULL, head->key_len);
    place_read(&p, to, head->len);
}

/* --- the hash table and the order of use ----------------------------------------------------- */

uint32_t shard_find(shard *s, const shard_key *key)
{
    for (uint32_t number = *bucket_of(s, key->hash); number;) {
        block *b = shard_block(s, number);
        if (b->hash == key->hash && b->key_len == key->len) {
            place p = place_begin(s, b);
            if (place_equals(&p, key->bytes, key->len))
                return number;
        }
        number = b->chain;
    }
    return 0;
}

static void order_remove(shard *s, block *b)
{
    *(b->newer ? &shard_block(s, b->newer)->older : &s->newest) = b->older;
    *(b->older ? &shard_block(s, b->older)->newer : &s->oldest) = b->newer;
}

static void order_add(shard *s, uint32_t number)
{
    block *b = shard_block(s, number);
    b->newer = 0;
    b->older = s->newest;
    *(s->newest ? &shard_block(s, s->newest)->newer : &s->oldest) = number;
    s->newest = number;
}

void shard_use(shard *s, uint32_t item)
{
    if (s->newest == item)
        return;
    order_remove(s, shard_block(s, item));
    order_add(s, item);
}

static void add(shard *s, uint32_t item)
{
    block *b = shard_block(s, item);
    uint32_t *bucket = bucket_of(s, b->hash);
    b->chain = *bucket;
    *bucket = item;
    order_add(s, item);
    s->items++;
    if (b->expires && b->expires < s->earliest)
        s->earliest = b->expires;
}

static void unlink_item(shard *s, uint32_t item)
{
    block *b = shard_block(s, item);
    uint32_t *link = bucket_of(s, b->hash);
    while (*link != item)
        link = &shard_block(s, *link)->chain;
    *link = b->chain;
    order_remove(s, b);
    s->items--;
}

void shard_remove(shard *s, uint32_t item)
{
    block *b = shard_block(s, item);
    commit(&b->kind, BLOCK_FREE);
    unlink_item(s, item);
    uint32_t element = b->type == LIST_TYPE ? b->first : 0;
    while (element) {
        uint32_t next = shard_block(s, element)->chain;
        give_chain(s, element);
        element = next;
    }
    give_chain(s, item);
}

/* --- room ------------------------------------------------------------------------------------ */

static bool has_expired(const block *b, int64_t now) { return b->expires && b->expires <= now; }

static uint64_t sweep(shard *s, int64_t now, bool everything, uint32_t keep)
{
    uint64_t removed = 0;
    int64_t earliest = INT64_MAX;
    for (uint32_t item = s->oldest; item;) {
        block *b = shard_block(s, item);
        uint32_t next = b->newer;
        if (item != keep && (everything || has_expired(b, now))) {
            shard_remove(s, item);
            removed++;
        } else if (b->expires && b->expires < earliest) {
            earliest = b->expires;
        }
        item = next;
    }
    s->earliest = earliest;
    return removed;
}

uint64_t shard_sweep(shard *s, int64_t now, bool everything)
{
    return sweep(s, now, everything, 0);
}

/* Removes what has expired of the next few blocks. All of them would be too many at once, and who
 * evicts can do without. */
static void look_on(shard *s, int64_t now, uint32_t keep)
{
    for (int i = 0; i < LOOK_AT; i++) {
        s->hand = s->hand + 1 < s->untouched ? s->hand + 1 : 1;
        const block *b = shard_block(s, s->hand);
        if (b->kind == BLOCK_ITEM && s->hand != keep && has_expired(b, now))
            shard_remove(s, s->hand);
    }
}

/* Makes `count` blocks available, without touching the item `keep`. */
static int make_room(shard *s, size_t count, int64_t now, bool may_evict, uint32_t keep)
{
    may_evict = may_evict && s->evicts;
    if (count > s->blocks)
        return LINKS_TOO_LARGE;
    if (available(s) < count && s->earliest <= now) {
        if (may_evict)
            look_on(s, now, keep);
        else
            sweep(s, now, false, keep);
    }
    while (available(s) < count && may_evict) {
        uint32_t victim = s->oldest;
        if (victim == keep && victim)
            victim = shard_block(s, victim)->newer;
        if (!victim)
            break;
        shard_remove(s, victim);
        s->evictions++;
    }
    return available(s) < count ? LINKS_FULL : 0;
}

static size_t length_of(shard *s, uint32_t item)
{
    const block *b = shard_block(s, item);
    return b->type == LIST_TYPE ? 0 : blocks_for(bytes_of(b));
}

/* A head that nobody sees yet, with its bytes. */
static uint32_t build(shard *s, const shard_key *key, const shard_value *value)
{
    uint32_t key_len = key ? key->len : 0;
    uint32_t number = take_chain(s, blocks_for((size_t)key_len + value->len));
    block *b = shard_block(s, number);
    b->hash = key ? key->hash : 0;
    b->key_len = (uint16_t)key_len;
    b->len = value->len;
    b->type = value->type;
    b->number = value->number;
    b->expires = 0;
    b->first = b->last = 0;
    place p = place_begin(s, b);
    if (key)
        place_write(&p, key->bytes, key_len);
    place_write(&p, value->bytes, value->len);
    return number;
}

int64_t shard_put(shard *s, const shard_key *key, const shard_value *value, uint32_t old,
                  int64_t expires, int64_t now, bool may_evict)
{
    size_t count = blocks_for((size_t)key->len + value->len);
    int rc = make_room(s, count, now, may_evict, old);
    if (rc == LINKS_FULL && old && available(s) + length_of(s, old) >= count) {
        /* Full to the last block: for once the old value goes before the new one is there. */
        shard_remove(s, old);
        old = 0;
        rc = 0;
    }
    if (rc < 0)
        return rc;
    uint32_t item = build(s, key, value);
    block *b = shard_block(s, item);
    b->expires = expires;
    b->version = ++s->version;
    commit(&b->kind, BLOCK_ITEM);
    if (old)
        shard_remove(s, old);
    add(s, item);
    return item;
}

/* --- lists ----------------------------------------------------------------------------------- */

int shard_push(shard *s, uint32_t item, const shard_value *value, bool left, int64_t now)
{
    int rc = make_room(s, blocks_for(value->len), now, true, item);
    if (rc < 0)
        return rc;
    uint32_t element = build(s, NULL, value);
    block *list = shard_block(s, item), *b = shard_block(s, element);
    b->chain = left ? list->first : 0;
    b->newer = left ? 0 : list->last;
    commit(&b->kind, BLOCK_ELEMENT);
    if (left || !list->last)
        commit(&list->first, element);
    else
        commit(&shard_block(s, list->last)->chain, element);
    if (left && b->chain)
        shard_block(s, b->chain)->newer = element;
    if (!left || !b->chain)
        list->last = element;
    list->number++;
    list->version = ++s->version;
    return 0;
}

uint32_t shard_end(shard *s, uint32_t item, bool left)
{
    const block *list = shard_block(s, item);
    return left ? list->first : list->last;
}

void shard_pop(shard *s, uint32_t item, bool left)
{
    block *list = shard_block(s, item);
    uint32_t element = shard_end(s, item, left);
    block *b = shard_block(s, element);
    uint32_t next = b->chain, previous = b->newer;
    if (left || !previous)
        commit(&list->first, left ? next : 0);
    else
        commit(&shard_block(s, previous)->chain, 0);
    if (left && next)
        shard_block(s, next)->newer = 0;
    if (!left || !next)
        list->last = left ? 0 : previous;
    list->number--;
    list->version = ++s->version;
    give_chain(s, element);
}

/* --- after a death --------------------------------------------------------------------------- */

/* Whether the chain has the blocks that its bytes take. */
static bool is_whole(shard *s, const block *head)
{
    size_t count = blocks_for(bytes_of(head));
    if (count > s->blocks)
        return false;
    for (const block *b = head; --count; b = shard_block(s, b->more))
        if (!is_block(s, b->more) || shard_block(s, b->more)->kind != BLOCK_MORE)
            return false;
    return true;
}

/* Marks a chain as in use; false where something of it is already. */
static bool mark(shard *s, uint8_t *marks, uint32_t number)
{
    size_t count = blocks_for(bytes_of(shard_block(s, number)));
    for (; count--; number = shard_block(s, number)->more) {
        if (marks[number])
            return false;
        marks[number] = 1;
        /* A chain ends where its bytes do. */
        if (count == 0)
            shard_block(s, number)->more = 0;
    }
    return true;
}

/* What can be followed from the first element on is the list. */
static void recover_list(shard *s, uint8_t *marks, block *list)
{
    uint32_t *link = &list->first, previous = 0;
    double count = 0;
    for (uint32_t element = *link; element; element = *link) {
        block *b = is_block(s, element) ? shard_block(s, element) : NULL;
        if (!b || b->kind != BLOCK_ELEMENT || !is_whole(s, b) || !mark(s, marks, element)) {
            *link = 0;
            break;
        }
        b->newer = previous;
        previous = element;
        link = &b->chain;
        count++;
    }
    list->last = previous;
    list->number = count;
}

/* Puts an item back; of two with one key the older one is dropped. */
static void recover_item(shard *s, uint32_t item, char *scratch)
{
    block *b = shard_block(s, item);
    if (!is_whole(s, b)) {
        b->kind = BLOCK_FREE;
        return;
    }
    shard_read_key(s, b, scratch);
    shard_key key = {scratch, b->key_len, b->hash};
    uint32_t other = shard_find(s, &key);
    if (other && shard_block(s, other)->version > b->version) {
        b->kind = BLOCK_FREE;
        return;
    }
    if (other) {
        unlink_item(s, other);
        shard_block(s, other)->kind = BLOCK_FREE;
    }
    if (b->version > s->version)
        s->version = b->version;
    add(s, item);
}

void shard_recover(shard *s)
{
    uint8_t *marks = mem_zalloc((size_t)s->blocks + 2);
    char *scratch = mem_alloc(UINT16_MAX + 1);
    memset(s->buckets, 0, ((size_t)s->mask + 1) * sizeof(uint32_t));
    s->newest = s->oldest = s->free = s->free_count = 0;
    s->items = 0;
    s->earliest = INT64_MAX;
    for (uint32_t i = 1; i < s->untouched; i++)
        if (shard_block(s, i)->kind == BLOCK_ITEM)
            recover_item(s, i, scratch);
    for (uint32_t item = s->oldest; item;) {
        block *b = shard_block(s, item);
        uint32_t next = b->newer;
        if (!mark(s, marks, item)) {
            unlink_item(s, item);
            b->kind = BLOCK_FREE;
        } else if (b->type == LIST_TYPE) {
            recover_list(s, marks, b);
        }
        item = next;
    }
    for (uint32_t i = s->untouched; --i > 0;)
        if (!marks[i])
            give_block(s, i);
    s->recoveries++;
    mem_free(scratch);
    mem_free(marks);
}
