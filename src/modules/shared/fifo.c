#include "modules/shared/fifo.h"

#include <stdatomic.h>
#include <string.h>

typedef struct record {
    uint32_t len, kind;
} record;

_Static_assert(sizeof(record) == FIFO_RECORD, "a record's head");

/* The store by which a change takes effect: all that was written before it is there with it. */
static void commit(uint64_t *word, uint64_t value)
{
    atomic_store_explicit((_Atomic uint64_t *)word, value, memory_order_release);
}

static uint64_t look(const uint64_t *word)
{
    return atomic_load_explicit((const _Atomic uint64_t *)word, memory_order_acquire);
}

int fifo_init(fifo *r, size_t size)
{
    *r = (fifo){.size = (size - sizeof(*r)) / 8 * 8};
    return shared_lock_init(&r->lock);
}

bool fifo_is_sound(const fifo *r, size_t size)
{
    return size > sizeof(*r) && r->size == (size - sizeof(*r)) / 8 * 8;
}

size_t fifo_need(size_t len) { return sizeof(record) + (len + 7) / 8 * 8; }

size_t fifo_room(const fifo *r) { return (size_t)(r->size - (r->tail - r->head)); }

bool fifo_is_empty(const fifo *r) { return look(&r->head) == look(&r->tail); }

/* A head never goes over the end, for all is in steps of 8. */
static record *record_at(const fifo *r, uint64_t at) { return (record *)(r->bytes + at % r->size); }

/* Counts what is there. What cannot be, the tail of a page that somebody has written over, goes. */
static void recover(fifo *r)
{
    uint64_t at = r->head;
    r->items = 0;
    while (at != r->tail && r->tail - at <= r->size) {
        at += fifo_need(record_at(r, at)->len);
        r->items++;
    }
    if (at != r->tail) {
        r->head = r->tail;
        r->items = 0;
    }
    r->recoveries++;
}

bool fifo_take(fifo *r)
{
    if (shared_lock_take(&r->lock) != LOCK_OWNER_DIED)
        return false;
    recover(r);
    shared_lock_mended(&r->lock);
    return true;
}

void fifo_give(fifo *r) { shared_lock_give(&r->lock); }

/* The bytes from `at` on lie in two pieces where they go over the end. */
static size_t first_piece(const fifo *r, uint64_t at, size_t len)
{
    size_t to_end = (size_t)(r->size - at % r->size);
    return len < to_end ? len : to_end;
}

void fifo_put(fifo *r, uint32_t kind, const struct iovec *parts, int count)
{
    uint64_t at = r->tail + sizeof(record);
    uint32_t len = 0;
    for (int i = 0; i < count; i++) {
        size_t piece = first_piece(r, at, parts[i].iov_len);
        memcpy(r->bytes + at % r->size, parts[i].iov_base, piece);
        memcpy(r->bytes, (const char *)parts[i].iov_base + piece, parts[i].iov_len - piece);
        at += parts[i].iov_len;
        len += (uint32_t)parts[i].iov_len;
    }
    *record_at(r, r->tail) = (record){len, kind};
}

void fifo_commit(fifo *r)
{
    commit(&r->tail, r->tail + fifo_need(record_at(r, r->tail)->len));
    r->items++;
    r->pushed++;
}

uint32_t fifo_first(const fifo *r, size_t *len)
{
    const record *first = record_at(r, r->head);
    *len = first->len;
    return first->kind;
}

void fifo_read(const fifo *r, char *to)
{
    uint64_t at = r->head + sizeof(record);
    size_t len = record_at(r, r->head)->len, piece = first_piece(r, at, len);
    memcpy(to, r->bytes + at % r->size, piece);
    memcpy(to + piece, r->bytes, len - piece);
}

void fifo_drop(fifo *r)
{
    commit(&r->head, r->head + fifo_need(record_at(r, r->head)->len));
    r->items--;
}
