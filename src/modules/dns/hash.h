/* A hash of bytes: FNV-1a, which is short and good enough for names. */
#ifndef LINKS_MODULES_DNS_HASH_H
#define LINKS_MODULES_DNS_HASH_H

#include <stddef.h>
#include <stdint.h>

static inline uint32_t hash_bytes(const uint8_t *bytes, size_t len, uint32_t seed)
{
    uint32_t h = 2166136261u ^ seed;
    for (size_t i = 0; i < len; i++)
        h = (h ^ bytes[i]) * 16777619u;
    return h ^ h >> 15;
}

#endif
