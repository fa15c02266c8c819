/*
 * Pooled buffers of one size. What is busy borrows a chunk and gives it back when it has nothing
 * to keep, so a connection that waits holds none, and a busy server allocates none per request.
 */
#ifndef LINKS_BASE_CHUNK_H
#define LINKS_BASE_CHUNK_H

#include <stddef.h>
#include <stdint.h>

enum {
    CHUNK_SIZE = 16384,   /* bytes of data in a chunk */
    CHUNK_POOL_MAX = 256, /* free chunks a pool keeps; more go back to the allocator */
};

typedef struct chunk chunk;

struct chunk {
    chunk *next; /* for its owner: a list of chunks, and the pool's own */
    uint32_t start, end;
    uint32_t size; /* of data: CHUNK_SIZE, or more for one from chunk_new */
    char data[];
};

typedef struct chunk_pool {
    chunk *free;
    int nfree;
    int spare; /* the fewest that lay free since the last trim: nobody has needed these */
    int used;
} chunk_pool;

void chunk_pool_init(chunk_pool *pool);

/* Frees what the pool keeps; every chunk must have been given back. */
void chunk_pool_deinit(chunk_pool *pool);

/* An empty chunk, most recently used first: its memory is still in the cache. Never NULL. */
chunk *chunk_get(chunk_pool *pool);

/* An empty chunk of `size` bytes that is not of the pool's, for the rare thing that needs more room
 * in one piece. Goes the same way back. */
chunk *chunk_new(chunk_pool *pool, uint32_t size);

/* Gives a chunk back; NULL is fine. */
void chunk_put(chunk_pool *pool, chunk *c);

/* Frees half of what has lain unused since the last call, so that a burst's memory goes back. */
void chunk_pool_trim(chunk_pool *pool);

#endif
