/*
 * The strings of JSON, eight bytes at a time: for what reads them and for what writes them.
 */
#ifndef LINKS_BASE_JSONTEXT_H
#define LINKS_BASE_JSONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A byte of a string becomes at most so many: \u001f. */
enum { JSONTEXT_ESCAPED_MAX = 6 };

/* Whether one of eight bytes is a quote, a backslash or a control character. */
static inline bool jsontext_has_special(uint64_t eight)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t quote = eight ^ ones * '"';
    uint64_t slash = eight ^ ones * '\\';
    uint64_t found = (eight - ones * 0x20) & ~eight;
    found |= (quote - ones) & ~quote;
    found |= (slash - ones) & ~slash;
    return (found & ones * 0x80) != 0;
}

static inline bool jsontext_is_special(char c)
{
    return (unsigned char)c < 0x20 || c == '"' || c == '\\';
}

/* The first special byte from `p` on, or `end`. */
static inline const char *jsontext_skip_plain(const char *p, const char *end)
{
    for (uint64_t eight; end - p >= 8; p += 8) {
        memcpy(&eight, p, 8);
        if (jsontext_has_special(eight))
            break;
    }
    while (p < end && !jsontext_is_special(*p))
        p++;
    return p;
}

/* Writes a string, escaped, without its quotes. `out` has room for JSONTEXT_ESCAPED_MAX * len.
 * Returns the end of what was written. */
char *jsontext_escape(char *out, const char *s, size_t len);

#endif
