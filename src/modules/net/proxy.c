#include "proxy.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

static const char signature[12] = {'\r', '\n', '\r', '\n', '\0', '\r',
                                   '\n', 'Q',  'U',  'I',  'T',  '\n'};

/* --- version 1 ------------------------------------------------------------------------------- */

/* Takes a word that ends with a space, or with the line, into `word`. False for one that is empty
 * or too long. */
static bool take_word(const char **at, const char *end, char *word, size_t size)
{
    const char *space = memchr(*at, ' ', (size_t)(end - *at));
    const char *stop = space ? space : end;
    size_t len = (size_t)(stop - *at);
    if (!len || len >= size || memchr(*at, '\0', len))
        return false;
    memcpy(word, *at, len);
    word[len] = '\0';
    *at = space ? space + 1 : end;
    return true;
}

/* 0 to 65535 in decimal, without a leading zero; -1 for anything else. */
static int port_of(const char *word)
{
    int port = 0;
    if (word[0] == '0' && word[1])
        return -1;
    for (; *word; word++) {
        if (*word < '0' || *word > '9')
            return -1;
        port = port * 10 + (*word - '0');
        if (port > 65535)
            return -1;
    }
    return port;
}

/* "192.0.2.1 198.51.100.7 56324 443", up to `end`. */
static int parse_v1_addresses(proxy_header *header, const char *at, const char *end, int family)
{
    char words[4][ADDRESS_TEXT_MAX];
    for (int i = 0; i < 4; i++)
        if (!take_word(&at, end, words[i], sizeof(words[i])))
            return LINKS_PROTOCOL;
    int ports[2] = {port_of(words[2]), port_of(words[3])};
    /* A space after the last word would have been taken with it. */
    if (at != end || end[-1] == ' ' || ports[0] < 0 || ports[1] < 0)
        return LINKS_PROTOCOL;
    if (address_parse(&header->source, words[0], ports[0]) < 0 ||
        address_parse(&header->destination, words[1], ports[1]) < 0)
        return LINKS_PROTOCOL;
    if (header->source.family != family || header->destination.family != family)
        return LINKS_PROTOCOL;
    return 0;
}

static int parse_v1(proxy_header *header, const char *data, size_t len)
{
    size_t look = len < PROXY_V1_MAX ? len : PROXY_V1_MAX;
    const char *cr = memchr(data, '\r', look);
    if (!cr)
        return len >= PROXY_V1_MAX ? LINKS_PROTOCOL : 0;
    if (cr + 1 == data + PROXY_V1_MAX) /* its LF would be beyond, whether it has come or not */
        return LINKS_PROTOCOL;
    if (cr + 1 == data + len)
        return 0;
    if (cr[1] != '\n')
        return LINKS_PROTOCOL;

    char word[16];
    const char *at = data + 6; /* "PROXY " */
    if (at > cr || !take_word(&at, cr, word, sizeof(word)))
        return LINKS_PROTOCOL;
    int rc = LINKS_PROTOCOL;
    if (strcmp(word, "UNKNOWN") == 0)
        rc = 0; /* what else the line says is to be ignored */
    else if (strcmp(word, "TCP4") == 0)
        rc = parse_v1_addresses(header, at, cr, 4);
    else if (strcmp(word, "TCP6") == 0)
        rc = parse_v1_addresses(header, at, cr, 6);
    return rc < 0 ? rc : (int)(cr + 2 - data);
}

static int build_v1(const proxy_header *h, char *out)
{
    char source[ADDRESS_TEXT_MAX], destination[ADDRESS_TEXT_MAX];
    if (!h->source.family)
        return snprintf(out, PROXY_V1_MAX, "PROXY UNKNOWN\r\n");
    address_format(&h->source, source);
    address_format(&h->destination, destination);
    /* The longest is 104 bytes, so the zero byte has room too. */
    return snprintf(out, PROXY_V1_MAX, "PROXY TCP%d %s %s %d %d\r\n", h->source.family, source,
                    destination, h->source.port, h->destination.port);
}

/* --- version 2 ------------------------------------------------------------------------------- */

static uint16_t u16_at(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

static void binary_address(address *a, const uint8_t *ip, const uint8_t *port, uint8_t family)
{
    *a = (address){.family = family, .port = u16_at(port)};
    memcpy(a->ip, ip, family == 4 ? 4 : 16);
}

enum { HEAD = 16, VERSION = 2, LOCAL = 0, PROXY = 1, INET = 1, INET6 = 2, STREAM = 1 };

static int parse_v2(proxy_header *header, const char *data, size_t len)
{
    const uint8_t *at = (const uint8_t *)data;
    if (len < HEAD)
        return 0;
    int command = at[12] & 15, family = at[13] >> 4, transport = at[13] & 15;
    size_t rest = u16_at(at + 14);
    if (at[12] >> 4 != VERSION || command > PROXY || family > 3 || transport > 2)
        return LINKS_PROTOCOL;
    if (HEAD + rest > PROXY_HEADER_MAX)
        return LINKS_PROTOCOL;
    if (len < HEAD + rest)
        return 0;
    at += HEAD;
    /* LOCAL is the balancer's own connection: the real addresses hold. */
    if (command == PROXY && transport == STREAM && family == INET) {
        if (rest < 12)
            return LINKS_PROTOCOL;
        binary_address(&header->source, at, at + 8, 4);
        binary_address(&header->destination, at + 4, at + 10, 4);
    } else if (command == PROXY && transport == STREAM && family == INET6) {
        if (rest < 36)
            return LINKS_PROTOCOL;
        binary_address(&header->source, at, at + 32, 6);
        binary_address(&header->destination, at + 16, at + 34, 6);
    }
    return (int)(HEAD + rest);
}

static char *put_u16(char *at, uint16_t value)
{
    *at++ = (char)(value >> 8);
    *at++ = (char)value;
    return at;
}

static int build_v2(const proxy_header *h, char *out)
{
    size_t size = h->source.family == 4 ? 4 : 16;
    memcpy(out, signature, sizeof(signature));
    char *at = out + sizeof(signature);
    bool told = h->source.family;
    *at++ = (char)(VERSION << 4 | (told ? PROXY : LOCAL));
    *at++ = (char)(told ? (size == 4 ? INET : INET6) << 4 | STREAM : 0);
    at = put_u16(at, (uint16_t)(told ? 2 * size + 4 : 0));
    if (!told)
        return HEAD;
    memcpy(at, h->source.ip, size);
    memcpy(at + size, h->destination.ip, size);
    at = put_u16(at + 2 * size, h->source.port);
    at = put_u16(at, h->destination.port);
    return (int)(at - out);
}

/* --- both ------------------------------------------------------------------------------------ */

int proxy_parse(proxy_header *header, const char *data, size_t len)
{
    static const char text[6] = {'P', 'R', 'O', 'X', 'Y', ' '};
    *header = (proxy_header){0};
    if (len && data[0] == 'P') {
        size_t n = len < sizeof(text) ? len : sizeof(text);
        if (memcmp(data, text, n) != 0)
            return LINKS_PROTOCOL;
        return len < sizeof(text) ? 0 : parse_v1(header, data, len);
    }
    size_t n = len < sizeof(signature) ? len : sizeof(signature);
    if (memcmp(data, signature, n) != 0)
        return LINKS_PROTOCOL;
    return len < sizeof(signature) ? 0 : parse_v2(header, data, len);
}

/* RFC 4291, 2.5.5.2. */
static void map_to_ipv6(address *a)
{
    uint8_t ip[4];
    if (a->family != 4)
        return;
    memcpy(ip, a->ip, sizeof(ip));
    memset(a->ip, 0, 10);
    memset(a->ip + 10, 0xff, 2);
    memcpy(a->ip + 12, ip, sizeof(ip));
    a->family = 6;
}

int proxy_build(const proxy_header *header, int version, char out[static PROXY_V1_MAX])
{
    proxy_header h = *header;
    if (h.source.family && h.source.family != h.destination.family) {
        map_to_ipv6(&h.source);
        map_to_ipv6(&h.destination);
    }
    return version == 1 ? build_v1(&h, out) : build_v2(&h, out);
}
