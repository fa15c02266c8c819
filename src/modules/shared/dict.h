/*
 * A dictionary in memory that processes share: keys and values of bytes, with times of life, in
 * shards with a lock each.
 *
 * A shard is an array of blocks of one size. A value that is longer than a block is a chain of
 * them, so there is nothing that memory could be fragmented by: what is free is free for all.
 *
 * A process may be killed at any instruction. So every change takes effect by one store (of a
 * block's kind, of a link, of a number), and all the rest, which is the hash table, the order of
 * use, the list of free blocks and the counts, is made anew from the blocks when the next one finds
 * that the owner of the lock has died.
 */
#ifndef LINKS_MODULES_SHARED_DICT_H
#define LINKS_MODULES_SHARED_DICT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    DICT_MIN_SIZE = 65536,
    DICT_MAX_SHARDS = 256,
    DICT_MIN_SHARD = 32768, /* fewer shards are made where one would be smaller */
    DICT_MAX_KEY = 65535,
    DICT_KEYS_MAX = 1 << 20, /* what one call lists at most */
};

/* What a value is. Lua has further kinds of bytes beyond the last. */
enum { DICT_NUMBER = 1, DICT_LIST, DICT_BYTES };

enum { DICT_SET, DICT_SET_SAFE, DICT_ADD, DICT_REPLACE, DICT_SAME_VERSION };

typedef struct links_dict links_dict;

/* What the last call has found; the bytes stay until the next one. */
struct links_dict {
    const char *data;
    size_t len;
    double number;
    double version;
    double ttl; /* ms that are left; -1: it lives for ever */
    int32_t expired;
};

/* Opens the dictionary `name` of this user's, or of the file `file` where its length is not 0,
 * which is kept. NULL, and a code in *rc: LINKS_EXISTS (it is there with another size, which goes
 * to *size, or other options), EACCES, ENOSPC, ENOMEM, EMFILE, ... or LINKS_PARSE for a file that
 * is no such thing. */
LINKS_API links_dict *links_dict_open(const char *name, size_t name_len, const char *file,
                                      size_t file_len, double *size, int shards, int evict,
                                      int *rc);
LINKS_API void links_dict_free(links_dict *d);

/* The type of the value, with what it is in `d`; or LINKS_NOT_FOUND. A `stale` one may have
 * expired. */
LINKS_API int links_dict_get(links_dict *d, const char *key, size_t key_len, int stale);

/* Puts a value, to live `ttl` ms (0: for ever). 0, or: LINKS_EXISTS (DICT_ADD, and for
 * DICT_SAME_VERSION where it has changed since), LINKS_NOT_FOUND (DICT_REPLACE), LINKS_FULL,
 * LINKS_TOO_LARGE. */
LINKS_API int links_dict_put(links_dict *d, const char *key, size_t key_len, int type,
                             const char *data, size_t len, double number, double ttl, int mode,
                             double version);

/* Removes a key; with a version other than 0, only if it is still that. 0, LINKS_NOT_FOUND, or
 * LINKS_EXISTS for another version. */
LINKS_API int links_dict_delete(links_dict *d, const char *key, size_t key_len, double version);

/* Adds to a number, which is then in d->number; a key that is not there begins with `init` if
 * `has_init`. 0, LINKS_NOT_FOUND, LINKS_TYPE, LINKS_FULL, LINKS_TOO_LARGE. */
LINKS_API int links_dict_incr(links_dict *d, const char *key, size_t key_len, double by,
                              int has_init, double init, double ttl);

/* Takes `cost` from what a key may use, by the generic cell rate algorithm: one every `interval`
 * ms, and `burst` at once. 1, or 0 where that is too much now, and nothing is taken then; or
 * LINKS_TYPE, LINKS_FULL, LINKS_TOO_LARGE. d->number: how many are left; d->ttl: ms until this one
 * could have been taken; d->version: ms until all is there again. */
LINKS_API int links_dict_rate(links_dict *d, const char *key, size_t key_len, double interval,
                              double burst, double cost);

/* What is left of a key's life, in d->ttl. 0 or LINKS_NOT_FOUND. */
LINKS_API int links_dict_ttl(links_dict *d, const char *key, size_t key_len);

/* Gives a key another time of life, 0 for ever. 0 or LINKS_NOT_FOUND. */
LINKS_API int links_dict_expire(links_dict *d, const char *key, size_t key_len, double ttl);

/* Lists. push: the new length in d->number, or LINKS_TYPE, LINKS_FULL, LINKS_TOO_LARGE. pop: the
 * type of the value, or LINKS_NOT_FOUND, LINKS_TYPE. len: 0 and the length in d->number, or
 * LINKS_TYPE. */
LINKS_API int links_dict_push(links_dict *d, const char *key, size_t key_len, int type,
                              const char *data, size_t len, double number, int left);
LINKS_API int links_dict_pop(links_dict *d, const char *key, size_t key_len, int left);
LINKS_API int links_dict_len(links_dict *d, const char *key, size_t key_len);

/* Up to `max` keys that have not expired, in d->data: each a length of 4 bytes and the bytes.
 * Returns how many. */
LINKS_API int links_dict_keys(links_dict *d, int max);

/* Removes all, or what has expired. Returns how many. */
LINKS_API double links_dict_flush(links_dict *d, int only_expired);

/* out: capacity and free bytes, items, hits, misses, evictions, recoveries. */
LINKS_API void links_dict_stats(links_dict *d, double out[7]);

/* out: the hits, misses and evictions that are this process's own. */
LINKS_API void links_dict_counts(const links_dict *d, double out[3]);

#endif
