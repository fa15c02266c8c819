#include "modules/log/ring.h"

#include <string.h>

#include "base/mem.h"

void ring_init(ring *r, size_t size)
{
    *r = (ring){.size = 64};
    while (r->size < size)
        r->size *= 2;
    r->data = mem_alloc(r->size);
}

void ring_deinit(ring *r)
{
    mem_free(r->data);
    r->data = NULL;
}

static void put_at(ring *r, uint64_t position, const void *data, size_t len)
{
    size_t at = position & (r->size - 1), first = r->size - at;
    if (first > len)
        first = len;
    if (first)
        memcpy(r->data + at, data, first);
    if (len > first)
        memcpy(r->data, (const char *)data + first, len - first);
}

bool ring_put(ring *r, const void *a, size_t a_len, const void *b, size_t b_len)
{
    size_t len = a_len + b_len;
    /* The other side's line is looked at only when the last look says that there is no room. */
    if (r->head - r->tail_seen + len > r->size) {
        r->tail_seen = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
        if (r->head - r->tail_seen + len > r->size)
            return false;
    }
    put_at(r, r->head, a, a_len);
    put_at(r, r->head + a_len, b, b_len);
    __atomic_store_n(&r->head, r->head + len, __ATOMIC_RELEASE);
    return true;
}

size_t ring_used(const ring *r)
{
    uint64_t tail = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
    return (size_t)(__atomic_load_n(&r->head, __ATOMIC_ACQUIRE) - tail);
}

size_t ring_peek(const ring *r, struct iovec iov[2])
{
    size_t used = ring_used(r);
    size_t at = r->tail & (r->size - 1), first = r->size - at;
    if (first > used)
        first = used;
    iov[0] = (struct iovec){r->data + at, first};
    iov[1] = (struct iovec){r->data, used - first};
    return used;
}

void ring_copy(const ring *r, size_t at, void *out, size_t len)
{
    size_t from = (r->tail + at) & (r->size - 1), first = r->size - from;
    if (first > len)
        first = len;
    memcpy(out, r->data + from, first);
    memcpy((char *)out + first, r->data, len - first);
}

void ring_skip(ring *r, size_t len) { __atomic_store_n(&r->tail, r->tail + len, __ATOMIC_RELEASE); }
