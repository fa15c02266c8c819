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

char *jsontext_escape(char *out, const char *s, size_t len)
{
    const char *end = s + len;
    while (s < end) {
        for (uint64_t eight; end - s >= 8; s += 8, out += 8) {
            memcpy(&eight, s, 8);
            if (jsontext_has_special(eight))
                break;
            memcpy(out, &eight, 8);
        }
        while (s < end && !jsontext_is_special(*s))
            *out++ = *s++;
        if (s < end)
            out = escape_byte(out, (unsigned char)*s++);
    }
    return out;
}
