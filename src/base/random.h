/*
 * Bits from the system that nobody can guess.
 */
#ifndef LINKS_BASE_RANDOM_H
#define LINKS_BASE_RANDOM_H

#include <stdint.h>

/* Taken from the system a block at a time. Aborts where it has none. */
uint32_t random_bits(void);

#endif
