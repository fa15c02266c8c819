/*
 * The text that the encoders of JSON write, in a buffer that is kept from one text to the next.
 *
 * A text goes behind what is in the buffer, and is taken away at its end, so that one may be
 * written within another.
 */
#ifndef LINKS_LUA_JSON_OUT_H
#define LINKS_LUA_JSON_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/decimal.h"
#include "base/jsontext.h"

typedef struct json_buffer {
    char *data;
    size_t len, room;
} json_buffer;

typedef struct json_out {
    char *at, *end; /* where it writes in the buffer, and where that ends: see json_out_leave */
    json_buffer *buffer;
    size_t begin;   /* of its text in the buffer */
    bool too_large; /* more than 2 GiB: the text was dropped */
} json_out;

/* Begins a text. */
void json_out_start(json_out *out, json_buffer *buffer);

/* Ends it: its length. It lies at `begin` of the buffer until the next one is begun. */
size_t json_out_stop(json_out *out);

/* While a text is written, the buffer's length is in its `at`. It is put down where another may be
 * begun, and taken up again. */
void json_out_leave(json_out *out);
void json_out_return(json_out *out);

/* Takes away what has been written of the text. */
void json_out_rewind(json_out *out);

/* Makes room for `n` bytes more, of which there were less. */
void json_out_grow(json_out *out, size_t n);

/* Gives the memory of a buffer back: that of one that has become large, or all. */
void json_buffer_trim(json_buffer *buffer);
void json_buffer_deinit(json_buffer *buffer);

/* Where `n` bytes can be written. */
static inline char *json_out_room(json_out *out, size_t n)
{
    if ((size_t)(out->end - out->at) < n)
        json_out_grow(out, n);
    return out->at;
}

static inline void json_out_byte(json_out *out, char c)
{
    *json_out_room(out, 1) = c;
    out->at++;
}

static inline void json_out_put(json_out *out, const char *s, size_t len)
{
    memcpy(json_out_room(out, len), s, len);
    out->at += len;
}

void json_out_long_string(json_out *out, const char *s, size_t len);

enum { JSON_OUT_PIECE = 1024 /* bytes of a string for which room is made at once */ };

/* With its quotes. */
static inline void json_out_string(json_out *out, const char *s, size_t len)
{
    if (len > JSON_OUT_PIECE) {
        json_out_long_string(out, s, len);
        return;
    }
    char *at = json_out_room(out, len * JSONTEXT_ESCAPED_MAX + 2);
    *at++ = '"';
    at = jsontext_escape(at, s, len);
    *at++ = '"';
    out->at = at;
}

/* False, and nothing is written, for a number that decimal_write does not write. */
static inline bool json_out_number(json_out *out, double number)
{
    size_t n = decimal_write(json_out_room(out, DECIMAL_MAX), number);
    out->at += n;
    return n > 0;
}

#endif
