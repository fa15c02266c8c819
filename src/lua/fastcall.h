/*
 * Functions of C modules that every message calls. Code that waits runs interpreted, and there a
 * call through the FFI costs 70 ns, and as much again for the string of its result, a C function
 * 24. So the few functions on a module's hot path are given to Lua here, in plain C types: modules
 * still see no lua.h.
 *
 * The rules are those of any function that may wait, but for one thing: where it returns
 * LINKS_AGAIN the coroutine yields at once, and the status of the wake is what Lua gets from the
 * call. So Lua loops while the answer is 0.
 */
#ifndef LINKS_LUA_FASTCALL_H
#define LINKS_LUA_FASTCALL_H

#include <stddef.h>

typedef struct fastcall {
    void *object;     /* what the pointer (a cdata) that is the first argument points to */
    double number;    /* the second argument where it is a number, else NaN */
    const char *data; /* its bytes where it is a string, else NULL */
    size_t len;
    const char *out; /* to be set where the answer is not a number but as many bytes as returned;
                         they must stay until the next call */
    int extra;       /* not 0: a second answer, behind those bytes */
} fastcall;

/* A count of `out`, a number, LINKS_AGAIN with the running task parked, or a failure. */
typedef ptrdiff_t fastcall_fn(fastcall *call);

/* Makes `fn` callable as require("links.core").fast.<name>(object, number|string). */
void fastcall_add(const char *name, fastcall_fn *fn);

#endif
