#include "chunked.h"

#include "base/err.h"
#include "head.h"

enum state {
    SIZE_FIRST, /* the first digit of a size: there must be one */
    SIZE,
    EXTENSION,
    QUOTED, /* a quoted string in an extension, which must have an end */
    QUOTED_PAIR,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_FIRST, /* the first byte of a trailer field, or of the empty line */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    END_LF,
    DONE,
};

enum { SIZE_DIGITS_MAX = 16 };

void chunked_init(chunked *c) { *c = (chunked){.state = SIZE_FIRST}; }

bool chunked_done(const chunked *c) { return c->state == DONE; }

static int hex(unsigned char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    ch |= 0x20;
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static bool is_control(unsigned char ch) { return http_kinds[ch] & HTTP_KIND_CONTROL; }

/* One byte of a size line. Returns the next state, or -1. */
static int size_step(chunked *c, unsigned char ch)
{
    int digit = hex(ch);
    switch (c->state) {
    case SIZE_FIRST:
    case SIZE:
        if (digit >= 0) {
            /* What others would cut to 64 bits is refused, and so are zeros in front of it. */
            if (c->left >> 55 || c->line > SIZE_DIGITS_MAX)
                return -1;
            c->left = c->left << 4 | (unsigned)digit;
            return SIZE;
        }
        if (c->state == SIZE_FIRST)
            return -1;
        return ch == '\r' ? SIZE_LF : ch == ';' ? EXTENSION : -1;
    case EXTENSION:
        return ch == '\r' ? SIZE_LF : ch == '"' ? QUOTED : is_control(ch) ? -1 : EXTENSION;
    case QUOTED:
        return is_control(ch) ? -1 : ch == '"' ? EXTENSION : ch == '\\' ? QUOTED_PAIR : QUOTED;
    case QUOTED_PAIR:
        return is_control(ch) ? -1 : QUOTED;
    default: /* SIZE_LF */
        c->line = 0;
        return ch != '\n' ? -1 : c->left ? DATA : TRAILER_FIRST;
    }
}

/* One byte of the trailers. They are checked; who wants to see them has to ask (chunked.tail), so
 * that nobody smuggles a field into the head. */
static int trailer_step(const chunked *c, unsigned char ch)
{
    switch (c->state) {
    case TRAILER_FIRST:
        return ch == '\r' ? END_LF : http_is_token(ch) ? TRAILER_NAME : -1;
    case TRAILER_NAME:
        return ch == ':' ? TRAILER_VALUE : http_is_token(ch) ? TRAILER_NAME : -1;
    case TRAILER_VALUE:
        return ch == '\r' ? TRAILER_LF : is_control(ch) ? -1 : TRAILER_VALUE;
    case TRAILER_LF:
        return ch == '\n' ? TRAILER_FIRST : -1;
    default: /* END_LF */
        return ch == '\n' ? DONE : -1;
    }
}

/* One byte that is not of the body. */
static int step(chunked *c, unsigned char ch)
{
    uint32_t max = c->state >= TRAILER_FIRST ? CHUNKED_TRAILER_MAX : CHUNKED_LINE_MAX;
    if (c->state == DATA_CR)
        return ch == '\r' ? DATA_LF : -1;
    if (c->state == DATA_LF)
        return ch == '\n' ? SIZE_FIRST : -1;
    if (++c->line > max)
        return -1;
    return c->state >= TRAILER_FIRST ? trailer_step(c, ch) : size_step(c, ch);
}

long chunked_next(chunked *c, const char *data, size_t len, size_t *at, const char **body)
{
    c->tail = 0;
    while (*at < len && c->state != DONE) {
        if (c->state == DATA) {
            size_t n = len - *at;
            if (n > c->left)
                n = (size_t)c->left;
            *body = data + *at;
            *at += n;
            c->left -= n;
            if (!c->left)
                c->state = DATA_CR;
            return (long)n;
        }
        c->tail += c->state >= TRAILER_FIRST;
        int next = step(c, (unsigned char)data[*at]);
        if (next < 0)
            return LINKS_HTTP_BAD_FRAMING;
        c->state = (uint8_t)next;
        ++*at;
    }
    return 0;
}
