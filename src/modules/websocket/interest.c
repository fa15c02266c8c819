#include "interest.h"

#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"

_Static_assert(sizeof(interest_slot) == INTEREST_SLOT, "a slot");

static uint64_t load(const uint64_t *word)
{
    return atomic_load_explicit((const _Atomic uint64_t *)word, memory_order_acquire);
}

static void store(uint64_t *word, uint64_t value)
{
    atomic_store_explicit((_Atomic uint64_t *)word, value, memory_order_release);
}

/* --- names ----------------------------------------------------------------------------------- */

static uint64_t step(uint64_t h, char c) { return (h ^ (uint8_t)c) * 0x100000001b3u; }

static uint64_t finish(uint64_t h)
{
    h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
    h ^= h >> 32;
    return h ? h : 1;
}

void interest_name_init(interest_name *n, uint64_t seed, const char *name, size_t len)
{
    uint64_t h = seed ^ 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++) {
        n->before_star[i] = h;
        h = step(h, name[i]);
    }
    n->before_star[len] = h;
    n->whole = finish(h);
    n->len = (uint32_t)len;
    n->ends_in_star = len && name[len - 1] == '*';
}

/* --- the table ------------------------------------------------------------------------------- */

/* The slot of a hash, or the empty one where it would be looked for last. */
static interest_slot *find(interest *t, uint64_t hash, uint64_t mask)
{
    uint64_t i = hash & mask;
    while (t->slots[i].hash && t->slots[i].hash != hash)
        i = (i + 1) & mask;
    return &t->slots[i];
}

void interest_init(interest *t)
{
    store(&t->version, t->version | 1);
    memset(t->slots, 0, INTEREST_SLOTS_MIN * sizeof(interest_slot));
    memset(t->patterns, 0, sizeof(t->patterns));
    memset(t->of_length, 0, sizeof(t->of_length));
    t->mask = INTEREST_SLOTS_MIN - 1;
    t->used = t->live = 0;
    store(&t->version, t->version + 1);
}

static bool is_crowded(const interest *t) { return (t->used + 1) * 4 > (t->mask + 1) * 3; }

/* Made anew it is half full at most. */
static uint64_t size_for(uint64_t live)
{
    uint64_t size = INTEREST_SLOTS_MIN;
    while (size < (live + 1) * 2 && size < INTEREST_SLOTS_MAX)
        size *= 2;
    return size;
}

uint64_t interest_wants(const interest *t)
{
    if (!is_crowded(t))
        return t->mask + 1;
    return (t->live + 1) * 4 > (uint64_t)INTEREST_SLOTS_MAX * 3 ? 0 : size_for(t->live);
}

static void make_anew(interest *t)
{
    uint64_t size = size_for(t->live), count = 0;
    interest_slot *live = mem_alloc((t->live + 1) * sizeof(*live));
    for (uint64_t i = 0; i <= t->mask; i++)
        if (t->slots[i].count)
            live[count++] = t->slots[i];
    store(&t->version, t->version + 1);
    atomic_thread_fence(memory_order_release);
    memset(t->slots, 0, size * sizeof(interest_slot));
    for (uint64_t i = 0; i < count; i++)
        *find(t, live[i].hash, size - 1) = live[i];
    store(&t->mask, size - 1);
    t->used = count;
    store(&t->version, t->version + 1);
    mem_free(live);
}

/* One that has no count any more, on the way to the end of the chain, is given another topic. */
static interest_slot *claim(interest *t, uint64_t hash)
{
    interest_slot *s = find(t, hash, t->mask);
    if (s->hash)
        return s;
    for (uint64_t i = hash & t->mask; &t->slots[i] != s; i = (i + 1) & t->mask) {
        if (!t->slots[i].count) {
            store(&t->slots[i].hash, hash);
            return &t->slots[i];
        }
    }
    t->used++;
    store(&s->hash, hash);
    return s;
}

static void count_pattern(interest *t, const interest_name *n, int change)
{
    if (!n->ends_in_star)
        return;
    uint32_t len = n->len - 1;
    uint64_t bit = (uint64_t)1 << (len & 63), *word = &t->patterns[len / 64];
    t->of_length[len] += (uint32_t)change;
    store(word, t->of_length[len] ? *word | bit : *word & ~bit);
}

void interest_add(interest *t, const interest_name *n)
{
    if (is_crowded(t))
        make_anew(t);
    interest_slot *s = claim(t, n->whole);
    t->live += s->count == 0;
    store(&s->count, s->count + 1);
    count_pattern(t, n, 1);
}

void interest_remove(interest *t, const interest_name *n)
{
    interest_slot *s = find(t, n->whole, t->mask);
    if (!s->hash || !s->count)
        return;
    count_pattern(t, n, -1);
    store(&s->count, s->count - 1);
    t->live -= s->count == 0;
}

/* --- looking --------------------------------------------------------------------------------- */

static uint64_t count_of(const interest *t, uint64_t hash, uint64_t mask)
{
    uint64_t i = hash & mask;
    for (uint64_t tries = 0; tries <= mask; tries++, i = (i + 1) & mask) {
        uint64_t is = load(&t->slots[i].hash);
        if (!is)
            break;
        if (is != hash)
            continue;
        uint64_t count = load(&t->slots[i].count);
        /* It may be another topic's by now. */
        if (load(&t->slots[i].hash) == hash)
            return count;
    }
    return 0;
}

static uint64_t count_patterns(const interest *t, const interest_name *n, uint64_t mask)
{
    uint64_t count = 0;
    for (uint32_t word = 0; word < 4; word++) {
        for (uint64_t bits = load(&t->patterns[word]); bits; bits &= bits - 1) {
            uint32_t len = word * 64 + (uint32_t)__builtin_ctzll(bits);
            if (len > n->len)
                return count;
            /* A name that is a pattern's has been counted as such. */
            if (n->ends_in_star && len == n->len - 1)
                continue;
            count += count_of(t, finish(step(n->before_star[len], '*')), mask);
        }
    }
    return count;
}

int64_t interest_count(const interest *t, const interest_name *n, bool with_patterns)
{
    uint64_t version = load(&t->version), mask = load(&t->mask);
    if (version & 1 || mask >= INTEREST_SLOTS_MAX)
        return -1;
    uint64_t count = count_of(t, n->whole, mask);
    if (with_patterns)
        count += count_patterns(t, n, mask);
    atomic_thread_fence(memory_order_acquire);
    return load(&t->version) == version ? (int64_t)count : -1;
}
