/*
 * What the process does with lines that are not yet written when it crashes (SIGSEGV, SIGABRT and
 * their kin): they are written by the signal's handler, straight from the rings. Only targets that
 * are descriptors take part, and only where nobody else handles the signal.
 */
#ifndef LINKS_MODULES_LOG_CRASH_H
#define LINKS_MODULES_LOG_CRASH_H

#include "ring.h"

/* Sees to it that a crash writes what `r` holds behind `writing` to `fd`. */
void crash_watch(int slot, const ring *r, const uint64_t *writing, const int *fd);
void crash_forget(int slot);

/* Writes what all of them hold: for the handler of a signal that is to end the process. */
void crash_write(void);

#endif
