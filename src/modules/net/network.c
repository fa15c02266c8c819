#include "network.h"

#include <errno.h>
#include <string.h>

static address plain(const address *a)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    address to = *a;
    if (a->family == 6 && memcmp(a->ip, mapped, sizeof(mapped)) == 0) {
        to = (address){.family = 4, .port = a->port};
        memcpy(to.ip, a->ip + 12, 4);
    }
    return to;
}

/* 0 to `max` in decimal; -1 for anything else. */
static int bits_of(const char *text, int max)
{
    int n = 0;
    if (!*text || (text[0] == '0' && text[1]))
        return -1;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -1;
        n = n * 10 + (*text - '0');
        if (n > max)
            return -1;
    }
    return n;
}

int network_parse(network *n, const char *text)
{
    char host[ADDRESS_TEXT_MAX];
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    if (len >= sizeof(host))
        return -EINVAL;
    memcpy(host, text, len);
    host[len] = '\0';
    address at;
    if (address_parse(&at, host, 0) < 0)
        return -EINVAL;
    int max = at.family == 4 ? 32 : 128;
    int bits = slash ? bits_of(slash + 1, max) : max;
    if (bits < 0)
        return -EINVAL;
    n->at = plain(&at);
    if (n->at.family != at.family) {
        if (bits < 96)
            return -EINVAL;
        bits -= 96;
    }
    n->bits = (uint8_t)bits;
    return 0;
}

bool network_has(const network *n, const address *a)
{
    address at = plain(a);
    if (at.family != n->at.family)
        return false;
    size_t whole = n->bits / 8;
    if (memcmp(at.ip, n->at.ip, whole) != 0)
        return false;
    int rest = n->bits % 8;
    return !rest || (at.ip[whole] ^ n->at.ip[whole]) >> (8 - rest) == 0;
}
