#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *checked(void *ptr, size_t size)
{
    if (ptr)
        return ptr;
    fprintf(stderr, "links: out of memory (%zu bytes asked for)\n", size);
    abort();
}

/* malloc(0) may answer NULL without having failed. */
static size_t at_least_one(size_t size) { return size ? size : 1; }

void *mem_alloc(size_t size) { return checked(malloc(at_least_one(size)), size); }

void *mem_zalloc(size_t size) { return checked(calloc(1, at_least_one(size)), size); }

void *mem_realloc(void *ptr, size_t size)
{
    return checked(realloc(ptr, at_least_one(size)), size);
}

char *mem_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(mem_alloc(size), text, size);
}

void mem_free(void *ptr) { free(ptr); }
