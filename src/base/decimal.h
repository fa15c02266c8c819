/*
 * Numbers as text: the fewest decimal digits that are read as the same double again, in no locale
 * and without the C library, whose printf takes ten times as long for the same digits.
 */
#ifndef LINKS_BASE_DECIMAL_H
#define LINKS_BASE_DECIMAL_H

#include <stddef.h>

enum { DECIMAL_MAX = 48 /* bytes that are written at most, of which a number takes 24 */ };

/*
 * Writes integers up to 2^53, and other numbers from 0.0001 up to there, as printf's %.17g lays
 * them out, -0 as "-0". Returns the length; or 0, and nothing is written, for any other
 * number. */
size_t decimal_write(char out[DECIMAL_MAX], double number);

#endif
