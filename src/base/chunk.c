#include "chunk.h"

#include <assert.h>

#include "mem.h"

void chunk_pool_init(chunk_pool *pool) { *pool = (chunk_pool){0}; }

static void drop(chunk_pool *pool, int n)
{
    while (n-- > 0 && pool->free) {
        chunk *c = pool->free;
        pool->free = c->next;
        pool->nfree--;
        mem_free(c);
    }
}

void chunk_pool_deinit(chunk_pool *pool)
{
    assert(pool->used == 0);
    drop(pool, pool->nfree);
}

chunk *chunk_new(chunk_pool *pool, uint32_t size)
{
    chunk *c = mem_alloc(sizeof(*c) + size);
    pool->used++;
    c->size = size;
    c->next = NULL;
    c->start = c->end = 0;
    return c;
}

chunk *chunk_get(chunk_pool *pool)
{
    chunk *c = pool->free;
    if (!c)
        return chunk_new(pool, CHUNK_SIZE);
    pool->used++;
    pool->free = c->next;
    mem_prefetch(c->next, sizeof(*c));
    if (--pool->nfree < pool->spare)
        pool->spare = pool->nfree;
    c->next = NULL;
    c->start = c->end = 0;
    return c;
}

void chunk_put(chunk_pool *pool, chunk *c)
{
    if (!c)
        return;
    pool->used--;
    if (c->size != CHUNK_SIZE || pool->nfree >= CHUNK_POOL_MAX) {
        mem_free(c);
        return;
    }
    c->next = pool->free;
    pool->free = c;
    pool->nfree++;
}

void chunk_pool_trim(chunk_pool *pool)
{
    drop(pool, (pool->spare + 1) / 2);
    pool->spare = pool->nfree;
}
