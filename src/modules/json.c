/*
 * The reader goes over the text once, without recursion: what is open is a stack of node numbers.
 * It is strict (RFC 8259), but for bytes beyond ASCII, which it hands on as they are.
 */
#include "json.h"

#include <stdbool.h>
#include <string.h>

#include "base/jsontext.h"
#include "base/mem.h"

typedef struct reader {
    links_json public; /* first: what Lua has is a pointer to it */
    links_json_node *nodes;
    uint32_t nnodes, room;
    char *arena; /* strings that had escapes */
    size_t arena_room;
    uint32_t open[JSON_MAX_DEPTH]; /* containers, the outermost first */
    int depth, max_depth;
    int flags;
    const char *at, *end;
    char *unescaped; /* where the next one goes */
} reader;

links_json *links_json_new(void) { return &mem_new(reader)->public; }

static void release(reader *r)
{
    mem_free(r->nodes);
    mem_free(r->arena);
    r->nodes = NULL;
    r->arena = NULL;
    r->room = 0;
    r->arena_room = 0;
}

void links_json_free(links_json *json)
{
    reader *r = (reader *)json;
    if (r)
        release(r);
    mem_free(r);
}

static int fail(reader *r, const char *message)
{
    r->public.message = message;
    return LINKS_PARSE;
}

static links_json_node *add(reader *r, int kind)
{
    if (r->nnodes == r->room) {
        r->room = r->room ? r->room * 2 : 64;
        r->nodes = mem_realloc(r->nodes, r->room * sizeof(*r->nodes));
    }
    links_json_node *node = &r->nodes[r->nnodes++];
    node->kind = kind;
    node->len = 0;
    return node;
}

/* --- strings ---------------------------------------------------------------------------------- */

/* Four hexadecimal digits, or -1. */
static int32_t hex4(const char *p, const char *end)
{
    if (end - p < 4)
        return -1;
    int32_t code = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        code = code << 4 | digit;
    }
    return code;
}

static char *put_utf8(char *out, int32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 63));
        *out++ = (char)(0x80 | (code & 63));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 63));
        *out++ = (char)(0x80 | (code >> 6 & 63));
        *out++ = (char)(0x80 | (code & 63));
    }
    return out;
}

/* \uXXXX; r->at is behind the u. */
static int read_unicode(reader *r, char **out)
{
    int32_t code = hex4(r->at, r->end);
    if (code < 0)
        return fail(r, "\\u needs four hexadecimal digits");
    if (code >= 0xd800 && code <= 0xdfff) {
        int32_t low = code < 0xdc00 && r->end - r->at > 6 && r->at[4] == '\\' && r->at[5] == 'u'
                          ? hex4(r->at + 6, r->end)
                          : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return fail(r, "half of a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        r->at += 6;
    }
    r->at += 4;
    *out = put_utf8(*out, code);
    return 0;
}

/* An escape; r->at is at its backslash. What it stands for is never longer than itself. */
static int read_escape(reader *r, char **out)
{
    if (r->end - r->at < 2)
        return fail(r, "the string does not end");
    char c = r->at[1];
    switch (c) {
    case '"':
    case '\\':
    case '/':
        break;
    case 'b':
        c = '\b';
        break;
    case 'f':
        c = '\f';
        break;
    case 'n':
        c = '\n';
        break;
    case 'r':
        c = '\r';
        break;
    case 't':
        c = '\t';
        break;
    case 'u':
        r->at += 2;
        return read_unicode(r, out);
    default:
        return fail(r, "there is no such escape");
    }
    *(*out)++ = c;
    r->at += 2;
    return 0;
}

/* The rest of a string, from its first escape at r->at on; `begin` is its first byte. */
static int read_escaped(reader *r, const char *begin, links_json_node *node)
{
    if (!r->unescaped) {
        size_t need = (size_t)(r->end - begin);
        if (r->arena_room < need) {
            mem_free(r->arena);
            r->arena = mem_alloc(need);
            r->arena_room = need;
        }
        r->unescaped = r->arena;
    }
    char *out = r->unescaped;
    memcpy(out, begin, (size_t)(r->at - begin));
    out += r->at - begin;

    while (r->at < r->end && *r->at != '"') {
        if (*r->at == '\\') {
            int rc = read_escape(r, &out);
            if (rc < 0)
                return rc;
        } else if ((unsigned char)*r->at < 0x20) {
            return fail(r, "a control character in a string must be escaped");
        }
        const char *stop = jsontext_skip_plain(r->at, r->end);
        memcpy(out, r->at, (size_t)(stop - r->at));
        out += stop - r->at;
        r->at = stop;
    }
    if (r->at == r->end)
        return fail(r, "the string does not end");
    r->at++;
    node->text = r->unescaped;
    node->len = (uint32_t)(out - r->unescaped);
    r->unescaped = out;
    return 0;
}

/* A string; r->at is at its quote. */
static int read_string(reader *r)
{
    links_json_node *node = add(r, JSON_STRING);
    const char *begin = ++r->at;
    r->at = jsontext_skip_plain(begin, r->end);
    if (r->at == r->end)
        return fail(r, "the string does not end");
    if (*r->at != '"')
        return read_escaped(r, begin, node);
    node->text = begin;
    node->len = (uint32_t)(r->at - begin);
    r->at++;
    return 0;
}

/* --- numbers ---------------------------------------------------------------------------------- */

static inline bool is_digit(const reader *r)
{
    return r->at < r->end && *r->at >= '0' && *r->at <= '9';
}

static int read_exponent(reader *r, int *exponent)
{
    bool negative = false;
    int value = 0;
    r->at++;
    if (r->at < r->end && (*r->at == '-' || *r->at == '+'))
        negative = *r->at++ == '-';
    if (!is_digit(r))
        return fail(r, "a number ends too early");
    for (; is_digit(r); r->at++)
        if (value < 10000)
            value = value * 10 + (*r->at - '0');
    *exponent += negative ? -value : value;
    return 0;
}

/*
 * Fifteen digits and a power of ten up to 22 are exact as doubles, so one multiplication or
 * division rounds once and rightly. Whatever has more is left to Lua's own
 * conversion. */
static int read_number(reader *r)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const char *begin = r->at;
    bool negative = *r->at == '-', is_integer = true;
    uint64_t mantissa = 0;
    int digits = 0, exponent = 0;
    if (negative)
        r->at++;
    if (!is_digit(r))
        return fail(r, negative ? "a number ends too early" : "a value was expected");
    if (*r->at == '0') {
        r->at++;
    } else {
        for (; is_digit(r); r->at++, digits++)
            if (digits < 15)
                mantissa = mantissa * 10 + (uint64_t)(*r->at - '0');
    }
    if (r->at < r->end && *r->at == '.') {
        is_integer = false;
        r->at++;
        if (!is_digit(r))
            return fail(r, "a number ends too early");
        for (; is_digit(r); r->at++, exponent--) {
            if (digits > 0 || *r->at != '0')
                digits++;
            if (digits <= 15)
                mantissa = mantissa * 10 + (uint64_t)(*r->at - '0');
        }
    }
    if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
        is_integer = false;
        int rc = read_exponent(r, &exponent);
        if (rc < 0)
            return rc;
    }
    if (digits <= 15 && exponent >= -22 && exponent <= 22) {
        double value = (double)mantissa;
        value = exponent < 0 ? value / powers[-exponent] : value * powers[exponent];
        add(r, JSON_NUMBER)->number = negative ? -value : value;
        return 0;
    }
    links_json_node *node = add(r, is_integer ? JSON_INTEGER : JSON_DECIMAL);
    node->text = begin;
    node->len = (uint32_t)(r->at - begin);
    return 0;
}

/* --- the rest --------------------------------------------------------------------------------- */

/* Skips one comment; r->at is at its slash. */
static int skip_comment(reader *r)
{
    const char *begin = r->at;
    if (r->end - begin >= 2 && begin[1] == '/') {
        const char *stop = memchr(begin, '\n', (size_t)(r->end - begin));
        r->at = stop ? stop : r->end;
        return 0;
    }
    if (r->end - begin >= 2 && begin[1] == '*') {
        for (const char *p = begin + 2; p + 1 < r->end; p++) {
            if (p[0] == '*' && p[1] == '/') {
                r->at = p + 2;
                return 0;
            }
        }
        return fail(r, "the comment does not end");
    }
    return fail(r, "a value was expected");
}

static int skip_space(reader *r)
{
    for (; r->at < r->end; r->at++) {
        char c = *r->at;
        if (c == ' ' || c == '\n' || c == '\r' || c == '\t')
            continue;
        if (c != '/' || !(r->flags & JSON_COMMENTS))
            return 0;
        int rc = skip_comment(r);
        if (rc < 0)
            return rc;
        r->at--; /* the loop goes on behind the comment */
    }
    return 0;
}

static int read_word(reader *r, const char *word, size_t len, int kind)
{
    if ((size_t)(r->end - r->at) < len || memcmp(r->at, word, len) != 0)
        return fail(r, "a value was expected");
    r->at += len;
    add(r, kind);
    return 0;
}

static int open_container(reader *r, int kind)
{
    if (r->depth == r->max_depth) {
        r->public.message = "it is nested too deeply";
        return LINKS_TOO_LARGE;
    }
    r->open[r->depth++] = r->nnodes;
    add(r, kind);
    r->at++;
    return 0;
}

static int read_value(reader *r)
{
    if (r->at == r->end)
        return fail(r, "it ends too early");
    switch (*r->at) {
    case '{':
        return open_container(r, JSON_OBJECT);
    case '[':
        return open_container(r, JSON_ARRAY);
    case '"':
        return read_string(r);
    case 't':
        return read_word(r, "true", 4, JSON_TRUE);
    case 'f':
        return read_word(r, "false", 5, JSON_FALSE);
    case 'n':
        return read_word(r, "null", 4, JSON_NULL);
    default:
        return read_number(r);
    }
}

/* The name of a member and its colon. */
static int read_name(reader *r)
{
    if (r->at == r->end || *r->at != '"')
        return fail(r, "a name in quotes was expected");
    int rc = read_string(r);
    if (rc < 0 || (rc = skip_space(r)) < 0)
        return rc;
    if (r->at == r->end || *r->at != ':')
        return fail(r, "\":\" was expected");
    r->at++;
    return skip_space(r);
}

/* Whether the container that was just opened is empty, and is closed by that: 1 or 0. */
static int is_empty(reader *r, char closing)
{
    int rc = skip_space(r);
    if (rc < 0)
        return rc;
    if (r->at == r->end || *r->at != closing)
        return 0;
    r->at++;
    r->depth--;
    return 1;
}

/* What comes behind a value: the ends of containers, and a comma where one goes on. */
static int read_ends(reader *r)
{
    while (r->depth > 0) {
        links_json_node *container = &r->nodes[r->open[r->depth - 1]];
        bool is_object = container->kind == JSON_OBJECT;
        int rc = skip_space(r);
        if (rc < 0)
            return rc;
        container->len++;
        if (r->at == r->end)
            return fail(r, "it ends too early");
        char c = *r->at;
        if (c != ',' && c != (is_object ? '}' : ']'))
            return fail(r,
                        is_object ? "\",\" or \"}\" was expected" : "\",\" or \"]\" was expected");
        r->at++;
        if (c == ',') {
            rc = skip_space(r);
            return rc < 0 || !is_object ? rc : read_name(r);
        }
        r->depth--;
    }
    return 0;
}

static int read_text(reader *r)
{
    int rc = skip_space(r);
    if (rc < 0)
        return rc;
    do {
        int depth = r->depth;
        if ((rc = read_value(r)) < 0)
            return rc;
        if (r->depth > depth) {
            bool is_object = r->nodes[r->nnodes - 1].kind == JSON_OBJECT;
            if ((rc = is_empty(r, is_object ? '}' : ']')) < 0)
                return rc;
            if (!rc) {
                if (is_object && (rc = read_name(r)) < 0)
                    return rc;
                continue;
            }
        }
        if ((rc = read_ends(r)) < 0)
            return rc;
    } while (r->depth > 0);
    if ((rc = skip_space(r)) < 0)
        return rc;
    return r->at == r->end ? 0 : fail(r, "something follows the value");
}

int links_json_parse(links_json *json, const char *text, size_t len, int max_depth, int flags)
{
    reader *r = (reader *)json;
    if (len < JSON_KEPT / 16 && r->room * sizeof(*r->nodes) + r->arena_room > JSON_KEPT)
        release(r);
    r->nnodes = 0;
    r->depth = 0;
    r->max_depth = max_depth < JSON_MAX_DEPTH ? max_depth : JSON_MAX_DEPTH;
    r->flags = flags;
    r->at = text;
    r->end = text + len;
    r->unescaped = NULL;

    int rc = LINKS_TOO_LARGE;
    /* Less than 2^31 nodes, so that their number is an int. */
    if (len < UINT32_MAX / 2)
        rc = read_text(r);
    else
        r->public.message = "it is larger than 2 GiB";
    r->public.nodes = r->nodes;
    r->public.at = (double)(r->at - text);
    return rc < 0 ? rc : (int)r->nnodes;
}
