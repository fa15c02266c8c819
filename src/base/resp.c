#include "base/resp.h"

#include <string.h>

#include "base/err.h"

/* What an item of a reply turned out to be. */
typedef enum item {
    ITEM_WHOLE,
    ITEM_OPENED, /* an aggregate whose elements follow */
    ITEM_ASIDE,  /* an attribute without any */
    ITEM_CUT,    /* more is needed */
    ITEM_BAD,
} item;

static item refuse(resp_scan *s, int *code, int is, const char *fault)
{
    *code = is;
    s->fault = fault;
    return ITEM_BAD;
}

/* --- lines ------------------------------------------------------------------------------------ */

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* A number's digits with a sign before them, or not. */
static bool is_whole(const char *text, size_t len)
{
    if (len > 0 && (*text == '-' || *text == '+'))
        text++, len--;
    for (size_t i = 0; i < len; i++) {
        if (!is_digit(text[i]))
            return false;
    }
    return len > 0;
}

static bool is_int64(const char *text, size_t len)
{
    bool negative = *text == '-';
    if (!is_whole(text, len))
        return false;
    uint64_t most = (uint64_t)INT64_MAX + negative, n = 0;
    for (size_t i = is_digit(*text) ? 0 : 1; i < len; i++) {
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (n > (most - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    return true;
}

static size_t skip_digits(const char *text, size_t len, size_t i)
{
    while (i < len && is_digit(text[i]))
        i++;
    return i;
}

static bool is_double(const char *text, size_t len)
{
    size_t i = len > 0 && (*text == '-' || *text == '+');
    if (len - i == 3 && (memcmp(text + i, "inf", 3) == 0 || memcmp(text + i, "nan", 3) == 0))
        return true;
    size_t digits = skip_digits(text, len, i);
    if (digits == i)
        return false;
    i = digits;
    if (i < len && text[i] == '.')
        i = skip_digits(text, len, i + 1);
    if (i < len && (text[i] == 'e' || text[i] == 'E')) {
        i++;
        if (i < len && (text[i] == '-' || text[i] == '+'))
            i++;
        digits = skip_digits(text, len, i);
        if (digits == i)
            return false;
        i = digits;
    }
    return i == len;
}

static bool is_sound_line(char type, const char *text, size_t len)
{
    switch (type) {
    case '+':
    case '-':
        return !memchr(text, '\n', len);
    case ':':
        return len > 0 && is_int64(text, len);
    case ',':
        return is_double(text, len);
    case '(':
        return is_whole(text, len);
    case '#':
        return len == 1 && (*text == 't' || *text == 'f');
    default: /* '_' */
        return len == 0;
    }
}

/* A length: -1 where that means null, or what it says; -2: neither. */
static int64_t to_length(const char *text, size_t len, bool nullable)
{
    if (len == 2 && text[0] == '-' && text[1] == '1')
        return nullable ? -1 : -2;
    if (len == 0 || len > 18)
        return -2;
    int64_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (!is_digit(text[i]))
            return -2;
        n = n * 10 + (text[i] - '0');
    }
    return n;
}

/* --- items ------------------------------------------------------------------------------------ */

/* `body` is where the payload begins. */
static item scan_bulk(resp_scan *s, const char *data, size_t len, size_t body, int64_t n, int *code)
{
    char type = data[s->at];
    if ((uint64_t)n > s->limits.size || body + (size_t)n > s->limits.size)
        return refuse(s, code, LINKS_TOO_LARGE, "the reply is too long");
    if (len - body < (size_t)n + 2)
        return ITEM_CUT;
    if (data[body + (size_t)n] != '\r' || data[body + (size_t)n + 1] != '\n')
        return refuse(s, code, LINKS_PROTOCOL, "a string is longer than it was said to be");
    if (type == '=' && (n < 4 || data[body + 3] != ':'))
        return refuse(s, code, LINKS_PROTOCOL, "a verbatim string has no format");
    s->at = body + (size_t)n + 2;
    return ITEM_WHOLE;
}

static item open_aggregate(resp_scan *s, char type, int64_t n, int *code)
{
    int64_t each = type == '%' || type == '|' ? 2 : 1;
    if (n > s->limits.elements || n * each > (int64_t)(s->limits.elements - s->elements))
        return refuse(s, code, LINKS_TOO_LARGE, "the reply has too many elements");
    if (n == 0)
        return type == '|' ? ITEM_ASIDE : ITEM_WHOLE;
    if (s->depth >= s->limits.depth)
        return refuse(s, code, LINKS_TOO_LARGE, "the reply is nested too deeply");
    s->elements += (uint32_t)(n * each);
    s->levels[s->depth].left = (uint32_t)(n * each);
    s->levels[s->depth].attribute = type == '|';
    s->depth++;
    return ITEM_OPENED;
}

/* The item whose first line ends at `end`. */
static item scan_line(resp_scan *s, const char *data, size_t len, size_t end, int *code)
{
    char type = data[s->at];
    const char *text = data + s->at + 1;
    size_t text_len = end - s->at - 1, next = end + 2;
    int64_t n;

    switch (type) {
    case '$':
    case '!':
    case '=':
        n = to_length(text, text_len, type == '$');
        if (n >= 0)
            return scan_bulk(s, data, len, next, n, code);
        break;
    case '>':
        if (s->depth > 0)
            return refuse(s, code, LINKS_PROTOCOL, "a push stands within a reply");
        /* fall through */
    case '*':
    case '~':
    case '%':
    case '|':
        n = to_length(text, text_len, type == '*');
        if (n >= 0) {
            s->at = next;
            return open_aggregate(s, type, n, code);
        }
        break;
    case '+':
    case '-':
    case ':':
    case ',':
    case '(':
    case '#':
    case '_':
        if (!is_sound_line(type, text, text_len))
            return refuse(s, code, LINKS_PROTOCOL, "a line is not what its type says");
        s->at = next;
        return ITEM_WHOLE;
    default:
        return refuse(s, code, LINKS_PROTOCOL, "a reply begins with no known type");
    }
    if (n == -2)
        return refuse(s, code, LINKS_PROTOCOL, "a length is no number");
    s->at = next; /* null */
    return ITEM_WHOLE;
}

static bool is_type(char c) { return c && strchr("+-:,(#_$!=*~%|>", c); }

static item scan_item(resp_scan *s, const char *data, size_t len, int *code)
{
    if (s->at >= len)
        return ITEM_CUT;
    /* At once: a peer that is no Redis may never send the end of a line. */
    if (!is_type(data[s->at]))
        return refuse(s, code, LINKS_PROTOCOL, "a reply begins with no known type");
    size_t from = s->seen > s->at ? s->seen : s->at + 1;
    const char *cr = from < len ? memchr(data + from, '\r', len - from) : NULL;
    s->seen = cr ? (size_t)(cr - data) : len;
    if (s->seen - s->at > RESP_LINE_MAX || s->seen > s->limits.size)
        return refuse(s, code, LINKS_TOO_LARGE, "a line of the reply is too long");
    if (s->seen + 1 >= len)
        return ITEM_CUT;
    if (cr[1] != '\n')
        return refuse(s, code, LINKS_PROTOCOL, "a line does not end as it must");
    return scan_line(s, data, len, s->seen, code);
}

/* A value is whole, and with it perhaps those it is the last element of. True: the reply is. */
static bool close_levels(resp_scan *s)
{
    while (s->depth > 0) {
        if (--s->levels[s->depth - 1].left > 0)
            return false;
        s->depth--;
        if (s->levels[s->depth].attribute)
            return false;
    }
    return true;
}

void resp_scan_init(resp_scan *s, const resp_limits *limits)
{
    memset(s, 0, sizeof(*s));
    s->limits = *limits;
    if (s->limits.depth > RESP_DEPTH_MAX)
        s->limits.depth = RESP_DEPTH_MAX;
}

ptrdiff_t resp_scan_run(resp_scan *s, const char *data, size_t len)
{
    int code = 0;
    for (;;) {
        switch (scan_item(s, data, len, &code)) {
        case ITEM_CUT:
            return 0;
        case ITEM_BAD:
            return code;
        case ITEM_OPENED:
        case ITEM_ASIDE:
            break;
        case ITEM_WHOLE:
            if (close_levels(s)) {
                ptrdiff_t whole = (ptrdiff_t)s->at;
                s->at = s->seen = 0;
                s->elements = 0;
                return whole;
            }
        }
    }
}

/* --- what is whole ---------------------------------------------------------------------------- */

resp_line resp_take_line(const char **at)
{
    const char *text = *at, *end = text;
    while (*end != '\r')
        end++;
    *at = end + 2;
    return (resp_line){text, (size_t)(end - text)};
}

int64_t resp_integer(resp_line line)
{
    bool negative = *line.text == '-';
    uint64_t n = 0;
    for (size_t i = is_digit(*line.text) ? 0 : 1; i < line.len; i++)
        n = n * 10 + (uint64_t)(line.text[i] - '0');
    return (int64_t)(negative ? 0 - n : n);
}
