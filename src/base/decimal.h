/*
 * Numbers as text: the fewest decimal digits that are read as the same double again, in no locale
 * and without the C library, whose printf takes ten times as long for the same digits.
 */
#ifndef LINKS_BASE_DECIMAL_H
#define LINKS_BASE_DECIMAL_H

#include <stddef.h>
#include <stdint.h>

enum { DECIMAL_MAX = 48 /* bytes that are written at most, of which a number takes 24 */ };

enum { DECIMAL_WHOLE_MAX = 20 };

/* Writes a whole number, and returns its length. The digits are put where they belong: collected
 * elsewhere and then copied, they would be read before they are in the cache, at 5 ns. */
size_t decimal_write_whole(char out[DECIMAL_WHOLE_MAX], uint64_t number);

/*
 * Writes integers up to 2^53, and other numbers from 0.0001 up to there, as printf's %.17g lays
 * them out, -0 as "-0". Returns the length; or 0, and nothing is written, for any other
 * number. */
size_t decimal_write(char out[DECIMAL_MAX], double number);

#endif
