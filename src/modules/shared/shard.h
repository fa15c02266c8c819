/*
 * A part of a dictionary: its lock, its hash table and its blocks, all in one piece of shared
 * memory and without a pointer in it, for every process has it elsewhere.
 *
 * A block is free, or the head of an item, or the head of a list's element, or goes on with one of
 * those. Blocks are numbered from 1, so that 0 is none.
 */
#ifndef LINKS_MODULES_SHARED_SHARD_H
#define LINKS_MODULES_SHARED_SHARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "modules/shared/lock.h"

enum { BLOCK_SIZE = 128 };

enum block_kind { BLOCK_FREE, BLOCK_ITEM, BLOCK_ELEMENT, BLOCK_MORE };

typedef struct block {
    uint32_t kind;
    uint32_t more; /* the block that goes on with this, or is free as well */
    union {
        struct {
            uint32_t hash;
            uint32_t chain;        /* the next item of the bucket; of the list */
            uint32_t newer, older; /* in the order of use; `newer` is an element's previous */
            uint64_t version;      /* of two items with one key the higher one counts */
            int64_t expires;       /* by the dictionary's clock, in ms; 0: never */
            uint32_t len;          /* of the value, in bytes */
            uint16_t key_len;
            uint8_t type;
            uint8_t unused;
            double number;
            uint32_t first, last; /* of a list */
            uint8_t bytes[BLOCK_SIZE - 64];
        };
        uint8_t more_bytes[BLOCK_SIZE - 8];
    };
} block;

typedef struct shard {
    shared_lock lock;
    uint32_t blocks;    /* how many there are */
    uint32_t mask;      /* of the buckets */
    uint32_t untouched; /* the first that was never used, and all behind it */
    uint32_t free;      /* a list, through `more` */
    uint32_t free_count;
    uint32_t newest, oldest; /* in the order of use */
    uint32_t evicts;
    uint32_t hand; /* the block that was looked at last for what has expired */
    uint64_t version;
    int64_t earliest; /* nothing expires before */
    uint64_t items, hits, misses, evictions, recoveries;
    uint32_t buckets[]; /* the blocks follow, at the next multiple of their size */
} shard;

typedef struct shard_key {
    const char *bytes;
    uint32_t len;
    uint32_t hash;
} shard_key;

typedef struct shard_value {
    const char *bytes;
    uint32_t len;
    uint8_t type;
    double number;
} shard_value;

/* The least size of one. */
size_t shard_least_size(void);

/* Makes an empty one of `size` zero bytes. 0 or -errno. */
int shard_init(shard *s, size_t size, bool evicts);

/* Whether what it says of itself fits into `size` bytes. */
bool shard_is_sound(const shard *s, size_t size);

/* Makes anew all that can be told from the blocks. What is not whole is dropped. */
void shard_recover(shard *s);

block *shard_block(shard *s, uint32_t number);

/* The item of a key, expired or not; 0 for none. */
uint32_t shard_find(shard *s, const shard_key *key);

/* Makes it the one that was used last. */
void shard_use(shard *s, uint32_t item);

/* A new item in the place of `old` (0: none). Room is made by removing what has expired, and, if
 * `may_evict`, what was not used for longest. Returns its number, or LINKS_FULL or
 * LINKS_TOO_LARGE, and nothing has changed then. */
int64_t shard_put(shard *s, const shard_key *key, const shard_value *value, uint32_t old,
                  int64_t expires, int64_t now, bool may_evict);

void shard_remove(shard *s, uint32_t item);

/* The value's bytes, `len` of them, to `to`. */
void shard_read(shard *s, const block *head, char *to);
void shard_read_key(shard *s, const block *head, char *to);

/* Another element at an end of a list. 0, LINKS_FULL, LINKS_TOO_LARGE. */
int shard_push(shard *s, uint32_t item, const shard_value *value, bool left, int64_t now);

/* The element at an end, of a list that is not empty; and its removal. */
uint32_t shard_end(shard *s, uint32_t item, bool left);
void shard_pop(shard *s, uint32_t item, bool left);

/* Removes what has expired, or everything. Returns how many items. */
uint64_t shard_sweep(shard *s, int64_t now, bool everything);

#endif
