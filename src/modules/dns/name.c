#include "name.h"

#include <string.h>

static bool is_alphanumeric(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* More than hosts may have: _tcp and the like, the / of RFC 2317, wildcards. */
static bool is_plain(uint8_t c)
{
    return is_alphanumeric(c) || c == '-' || c == '_' || c == '/' || c == '+' || c == '*';
}

int name_from_text(uint8_t wire[static NAME_MAX_WIRE], const char *text, size_t len)
{
    size_t label = 0, at = 1;

    if (len == 1 && text[0] == '.')
        len = 0;
    else if (len == 0)
        return -1;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)text[i];
        if (c == '.') {
            size_t n = at - label - 1;
            if (n == 0 || n > NAME_MAX_LABEL || at == NAME_MAX_WIRE)
                return -1;
            wire[label] = (uint8_t)n;
            label = at++;
            continue;
        }
        if (!is_plain(c) || at == NAME_MAX_WIRE)
            return -1;
        wire[at++] = name_lower(c);
    }
    size_t last = at - label - 1;
    if (last > NAME_MAX_LABEL)
        return -1;
    wire[label] = (uint8_t)last;
    if (last) {
        if (at == NAME_MAX_WIRE)
            return -1;
        wire[at++] = 0;
    }
    return (int)at;
}

static char *put_escaped(char *to, uint8_t c)
{
    *to++ = '\\';
    if (c == '.' || c == '\\') {
        *to++ = (char)c;
        return to;
    }
    *to++ = (char)('0' + c / 100);
    *to++ = (char)('0' + c / 10 % 10);
    *to++ = (char)('0' + c % 10);
    return to;
}

size_t name_to_text(char text[static NAME_MAX_TEXT], const uint8_t *wire)
{
    char *to = text;
    while (*wire) {
        uint8_t n = *wire++;
        if (to != text)
            *to++ = '.';
        for (; n; n--, wire++) {
            if (*wire > ' ' && *wire < 0x7f && *wire != '.' && *wire != '\\')
                *to++ = (char)*wire;
            else
                to = put_escaped(to, *wire);
        }
    }
    *to = '\0';
    return (size_t)(to - text);
}

int name_expand(uint8_t wire[static NAME_MAX_WIRE], const uint8_t *message, size_t len, size_t at,
                size_t *next)
{
    size_t n = 0;
    /* A pointer must lead to before where it stands, and before any other that was followed, so
     * that there is an end to them. */
    size_t floor = at;
    bool jumped = false;

    for (;;) {
        if (at >= len)
            return -1;
        uint8_t c = message[at];
        if (c >= 0xc0) {
            if (at + 1 >= len)
                return -1;
            if (!jumped)
                *next = at + 2;
            jumped = true;
            at = (size_t)(c & 0x3f) << 8 | message[at + 1];
            if (at >= floor)
                return -1;
            floor = at;
            continue;
        }
        if (c > NAME_MAX_LABEL || at + c >= len || n + c + 1 > NAME_MAX_WIRE)
            return -1;
        wire[n++] = c;
        at++;
        if (c == 0)
            break;
        for (; c; c--)
            wire[n++] = name_lower(message[at++]);
    }
    if (!jumped)
        *next = at;
    return (int)n;
}

bool name_is_host(const uint8_t *wire)
{
    if (!*wire)
        return false;
    while (*wire) {
        uint8_t n = *wire++;
        if (*wire == '-')
            return false;
        for (; n; n--, wire++) {
            if (!is_alphanumeric(*wire) && *wire != '-' && *wire != '_')
                return false;
        }
    }
    return true;
}
