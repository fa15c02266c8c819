/*
 * Memory that the processes of a cluster have in common without a name: a descriptor that one of
 * them makes and lends to the others (net/lent.h). It is there for as long as one of them is.
 */
#ifndef LINKS_MODULES_METRICS_MEMORY_H
#define LINKS_MODULES_METRICS_MEMORY_H

#include <stddef.h>
#include <sys/mman.h>

/* A descriptor of `size` zero bytes, which no exec passes on. Or -errno. */
int memory_open(size_t size);

/* Maps them, or the first of them; in the place of what is `at`, where that is not NULL. NULL with
 * errno set. */
static inline void *memory_map(int fd, size_t size, void *at)
{
    int flags = MAP_SHARED | (at ? MAP_FIXED : 0);
    void *base = mmap(at, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    return base == MAP_FAILED ? NULL : base;
}

#endif
