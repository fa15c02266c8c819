/*
 * What lib/links/json.lua decodes with (it encodes with src/lua/json_encode.h). A text is read into
 * an array of nodes, in the order in which the values stand in it, from which Lua makes its tables:
 * C knows no tables, and Lua no bytes. A string without escapes is not copied, its node points into
 * the
 * text. */
#ifndef LINKS_MODULES_JSON_H
#define LINKS_MODULES_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,  /* exact, or the nearest double */
    JSON_INTEGER, /* as text: it may not be exact as a double */
    JSON_DECIMAL, /* as text: only the caller's own conversion gets it right to the last bit */
    JSON_STRING,
    JSON_ARRAY,  /* len: elements, which follow */
    JSON_OBJECT, /* len: members, which follow, each a string and a value */
};

enum { JSON_COMMENTS = 1 }; /* flag: comments of C and C++ are white space */

enum { JSON_MAX_DEPTH = 1000, JSON_KEPT = 1 << 20 /* bytes of memory kept between two texts */ };

typedef struct links_json_node {
    int32_t kind;
    uint32_t len; /* bytes of the text, or how many belong to the container */
    union {
        double number;
        const char *text;
    };
} links_json_node;

/* A reader, to be used for one text after the other. Lua reads these fields only. */
typedef struct links_json {
    const links_json_node *nodes;
    const char *message; /* what is wrong with the text */
    double at;           /* and at which byte of it, from 0 */
} links_json;

LINKS_API links_json *links_json_new(void);
LINKS_API void links_json_free(links_json *json);

/*
 * Reads `len` bytes. Returns the number of nodes (1 or more), which are valid until the next call
 * and as long as `text` is; or LINKS_PARSE, or LINKS_TOO_LARGE for a nesting deeper than
 * `max_depth` or a text of 2 GiB and
 * more. */
LINKS_API int links_json_parse(links_json *json, const char *text, size_t len, int max_depth,
                               int flags);

#endif
