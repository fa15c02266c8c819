#include "base/jsontext.h"

static char *escape_byte(char *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
                                   ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\'};
    *out++ = '\\';
    if (letters[c]) {
        *out++ = letters[c];
        return out;
    }
    memcpy(out, "u00", 3);
    out[3] = hex[c >> 4];
    out[4] = hex[c & 15];
    return out + 5;
}

/* Copies less than eight bytes where none is special; else nothing, and false. */
static inline bool copy_plain(char *out, const char *s, size_t len)
{
    if (len >= 4) {
        uint32_t first, last; /* which overlap */
        memcpy(&first, s, 4);
        memcpy(&last, s + len - 4, 4);
        if (jsontext_has_special((uint64_t)first << 32 | last))
            return false;
        memcpy(out, &first, 4);
        memcpy(out + len - 4, &last, 4);
        return true;
    }
    for (size_t i = 0; i < len; i++) {
        if (jsontext_is_special(s[i]))
            return false;
        out[i] = s[i];
    }
    return true;
}

static char *__attribute__((noinline)) escape(char *out, const char *s, size_t len)
{
    const char *end = s + len;
    for (;;) {
        for (uint64_t eight; end - s >= 8; s += 8, out += 8) {
            memcpy(&eight, s, 8);
            if (jsontext_has_special(eight))
                break;
            memcpy(out, &eight, 8);
        }
        size_t left = (size_t)(end - s);
        if (left < 8 && copy_plain(out, s, left))
            return out + left;
        while (!jsontext_is_special(*s))
            *out++ = *s++;
        out = escape_byte(out, (unsigned char)*s++);
    }
}

/* Most names are short. */
char *jsontext_escape(char *out, const char *s, size_t len)
{
    return len < 8 && copy_plain(out, s, len) ? out + len : escape(out, s, len);
}
