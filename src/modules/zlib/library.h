/*
 * Libraries that a machine may have or not: opened when they are first asked for, and not linked,
 * so that one program serves all machines and building needs nothing of them.
 */
#ifndef LINKS_MODULES_ZLIB_LIBRARY_H
#define LINKS_MODULES_ZLIB_LIBRARY_H

#include <stdbool.h>

/* The first of these names (NULL ends them) that there is; NULL: none. It stays open. */
void *library_open(const char *const *names);

/* Puts the address of a function into `to`, a pointer to a function of whatever type. False where
 * there is no such function, or no library. */
bool library_find(void *library, const char *name, void *to);

#endif
