/*
 * Memory that is either there or the process is not: running out aborts with a message, so no
 * caller carries a branch that nobody can test.
 */
#ifndef LINKS_BASE_MEM_H
#define LINKS_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* `size` bytes, not cleared. Never NULL. Free with mem_free. */
void *mem_alloc(size_t size);

/* `size` zero bytes. Never NULL. Free with mem_free. */
void *mem_zalloc(size_t size);

/* Grows or shrinks `ptr` (or NULL) to `size` bytes. Never NULL. */
void *mem_realloc(void *ptr, size_t size);

/* A copy of a string. Free with mem_free. */
char *mem_strdup(const char *text);

/* Frees what the above returned; NULL is fine. */
void mem_free(void *ptr);

/* Has the `len` bytes at `ptr`, which may be anything, brought into the processor's cache: for what
 * is to be used next, after something that takes as long as memory does. */
static inline void mem_prefetch(const void *ptr, size_t len)
{
    enum { LINE = 64 };
    for (size_t i = 0; i < len; i += LINE)
        __builtin_prefetch((const void *)((uintptr_t)ptr + i));
}

/* A zeroed object of a type: `task *t = mem_new(task);` */
#define mem_new(type) ((type *)mem_zalloc(sizeof(type)))

#endif
