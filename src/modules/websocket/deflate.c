#include "deflate.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#include "base/mem.h"
#include "frame.h"

enum {
    OUT_FIRST = 1024,
    FREE_INFLATERS = 8, /* kept for connections without a context */
    LEVELS = 10,
    KEEP_MAX = 262144, /* of the shared output buffer */
};

/* --- the header field ------------------------------------------------------------------------ */

typedef struct params {
    bool server_no_context, client_no_context;
    bool has_client_bits;         /* client_max_window_bits, with or without a value */
    int server_bits, client_bits; /* 0: not given */
} params;

typedef struct scanner {
    const char *at, *end;
} scanner;

static void skip_spaces(scanner *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\t'))
        s->at++;
}

static bool next_is(scanner *s, char c)
{
    skip_spaces(s);
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    skip_spaces(s);
    return true;
}

static bool ends_token(char c) { return strchr(" \t,;=\"", c) || (unsigned char)c < 0x20; }

static size_t token(scanner *s, const char **at)
{
    *at = s->at;
    while (s->at < s->end && !ends_token(*s->at))
        s->at++;
    return (size_t)(s->at - *at);
}

static bool is(const char *at, size_t len, const char *word)
{
    return len == strlen(word) && strncasecmp(at, word, len) == 0;
}

/* A number of bits, plain or in quotes: 8 to 15, else -1. */
static int bits_of(scanner *s)
{
    const char *at;
    bool quoted = next_is(s, '"');
    size_t len = token(s, &at);
    if (quoted && !next_is(s, '"'))
        return -1;
    if (len == 1 && (*at == '8' || *at == '9'))
        return *at - '0';
    if (len == 2 && at[0] == '1' && at[1] >= '0' && at[1] <= '5')
        return 10 + at[1] - '0';
    return -1;
}

static bool set_once(bool *flag)
{
    bool was = *flag;
    *flag = true;
    return !was;
}

/* One parameter; false where it is unknown, has come already, or has a wrong value. */
static bool parameter(scanner *s, params *p)
{
    const char *name;
    size_t len = token(s, &name);
    bool has_value = next_is(s, '=');
    int bits = has_value ? bits_of(s) : 0;

    if (is(name, len, "server_no_context_takeover"))
        return !has_value && set_once(&p->server_no_context);
    if (is(name, len, "client_no_context_takeover"))
        return !has_value && set_once(&p->client_no_context);
    if (is(name, len, "server_max_window_bits")) {
        bool first = !p->server_bits;
        p->server_bits = bits;
        return first && bits > 0;
    }
    if (is(name, len, "client_max_window_bits")) {
        p->client_bits = bits;
        return set_once(&p->has_client_bits) && bits >= 0;
    }
    return false;
}

/* To the next extension of the list, or the end; quoted strings may hold a comma. */
static void skip_extension(scanner *s)
{
    bool quoted = false;
    for (; s->at < s->end && (quoted || *s->at != ','); s->at++)
        if (*s->at == '"')
            quoted = !quoted;
}

/* The next extension of the list: 1 and its parameters where it is permessage-deflate and they are
 * well-formed, 0 where it is another or they are not, -1 at the end. */
static int next_extension(scanner *s, params *p)
{
    const char *name;
    while (next_is(s, ','))
        ;
    if (s->at == s->end)
        return -1;
    scanner start = *s;
    size_t len = token(s, &name);
    bool ok = is(name, len, "permessage-deflate");
    *p = (params){0};
    while (ok && next_is(s, ';'))
        ok = parameter(s, p);
    skip_spaces(s);
    if (ok && s->at < s->end && *s->at != ',')
        ok = false;
    if (!ok) {
        *s = start;
        skip_extension(s);
    }
    return ok;
}

static int least(int given, int own) { return given && given < own ? given : own; }

int ws_deflate_accept(ws_deflate *d, const ws_deflate_options *o, const char *offer, size_t len,
                      char *answer)
{
    scanner s = {offer, offer + len};
    params p;
    *d = (ws_deflate){0};
    for (int rc; o->on && (rc = next_extension(&s, &p)) >= 0;) {
        if (!rc || (p.server_bits && p.server_bits < WS_BITS_MIN))
            continue;
        bool server_no_context = p.server_no_context || o->server_no_context;
        bool client_no_context = p.client_no_context || o->client_no_context;
        int bits = least(p.server_bits, o->server_bits);
        int client_bits = p.has_client_bits ? least(p.client_bits, o->client_bits) : 0;
        *d = (ws_deflate){
            .on = true,
            .out_context = !server_no_context,
            .in_context = !client_no_context,
            .out_bits = (uint8_t)bits,
        };
        char server_text[40] = "", client_text[40] = "";
        if (p.server_bits || bits < WS_BITS_MAX)
            snprintf(server_text, sizeof(server_text), "; server_max_window_bits=%d", bits);
        if (client_bits && client_bits < WS_BITS_MAX)
            snprintf(client_text, sizeof(client_text), "; client_max_window_bits=%d", client_bits);
        return snprintf(answer, WS_EXTENSION_MAX, "permessage-deflate%s%s%s%s",
                        server_no_context ? "; server_no_context_takeover" : "",
                        client_no_context ? "; client_no_context_takeover" : "", server_text,
                        client_text);
    }
    return 0;
}

int ws_deflate_offer(const ws_deflate_options *o, char *offer)
{
    char server_text[40] = "", client_text[40] = "; client_max_window_bits";
    if (!o->on)
        return 0;
    if (o->server_bits < WS_BITS_MAX)
        snprintf(server_text, sizeof(server_text), "; server_max_window_bits=%d", o->server_bits);
    if (o->client_bits < WS_BITS_MAX)
        snprintf(client_text, sizeof(client_text), "; client_max_window_bits=%d", o->client_bits);
    return snprintf(offer, WS_EXTENSION_MAX, "permessage-deflate%s%s%s%s",
                    o->server_no_context ? "; server_no_context_takeover" : "",
                    o->client_no_context ? "; client_no_context_takeover" : "", server_text,
                    client_text);
}

bool ws_deflate_agree(ws_deflate *d, const ws_deflate_options *o, const char *answer, size_t len)
{
    scanner s = {answer, answer + len};
    params p, more;
    *d = (ws_deflate){0};
    int rc = next_extension(&s, &p);
    if (rc < 0)
        return true;
    if (!rc || !o->on || next_extension(&s, &more) >= 0)
        return false;
    /* RFC 7692, 7.1.2: what we have asked for must be kept, and a window of 8 we cannot make. */
    if ((o->server_no_context && !p.server_no_context) ||
        (o->server_bits < WS_BITS_MAX && (!p.server_bits || p.server_bits > o->server_bits)) ||
        (p.has_client_bits && p.client_bits < WS_BITS_MIN))
        return false;
    *d = (ws_deflate){
        .on = true,
        .out_context = !p.client_no_context && !o->client_no_context,
        .in_context = !p.server_no_context,
        .out_bits = (uint8_t)least(p.client_bits, o->client_bits),
    };
    return true;
}

/* --- streams of zlib ------------------------------------------------------------------------- */

struct ws_deflater {
    z_stream z;
};

struct ws_inflater {
    z_stream z;
    ws_inflater *next;
};

/* Those that connections share: deflaters by level and bits, made when they are needed. */
static ws_deflater *shared[LEVELS][WS_BITS_MAX + 1];
static ws_inflater *free_inflaters;
static int nfree;
static char *output;
static size_t output_size;

static void *allocate(void *opaque, uInt count, uInt size)
{
    (void)opaque;
    return mem_alloc((size_t)count * size);
}

static void deallocate(void *opaque, void *ptr)
{
    (void)opaque;
    mem_free(ptr);
}

static ws_deflater *deflater_new(int level, int bits)
{
    ws_deflater *d = mem_new(ws_deflater);
    d->z.zalloc = allocate;
    d->z.zfree = deallocate;
    if (deflateInit2(&d->z, level, Z_DEFLATED, -bits, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        mem_free(d);
        return NULL;
    }
    return d;
}

void ws_deflater_free(ws_deflater *d)
{
    if (!d)
        return;
    deflateEnd(&d->z);
    mem_free(d);
}

static ws_inflater *inflater_get(void)
{
    ws_inflater *i = free_inflaters;
    if (i) {
        free_inflaters = i->next;
        nfree--;
        return i;
    }
    i = mem_new(ws_inflater);
    i->z.zalloc = allocate;
    i->z.zfree = deallocate;
    /* The largest window takes what was made with a smaller one. */
    if (inflateInit2(&i->z, -WS_BITS_MAX) != Z_OK) {
        mem_free(i);
        return NULL;
    }
    return i;
}

void ws_inflater_free(ws_inflater *i)
{
    if (!i)
        return;
    if (nfree < FREE_INFLATERS && inflateReset(&i->z) == Z_OK) {
        i->next = free_inflaters;
        free_inflaters = i;
        nfree++;
        return;
    }
    inflateEnd(&i->z);
    mem_free(i);
}

void ws_deflate_close(void)
{
    for (int level = 0; level < LEVELS; level++) {
        for (int bits = 0; bits <= WS_BITS_MAX; bits++) {
            ws_deflater_free(shared[level][bits]);
            shared[level][bits] = NULL;
        }
    }
    while (free_inflaters) {
        ws_inflater *i = free_inflaters;
        free_inflaters = i->next;
        inflateEnd(&i->z);
        mem_free(i);
    }
    nfree = 0;
    mem_free(output);
    output = NULL;
    output_size = 0;
}

/* --- messages -------------------------------------------------------------------------------- */

static void grow_output(size_t size)
{
    output = mem_realloc(output, size);
    output_size = size;
}

const char *ws_deflate_message(ws_deflater **own, int level, int bits, const char *data, size_t len,
                               size_t *out_len)
{
    ws_deflater **d = own ? own : &shared[level][bits];
    if (!*d)
        *d = deflater_new(level, bits);
    if (!*d || len > UINT32_MAX)
        return NULL;
    z_stream *z = &(*d)->z;
    size_t bound = deflateBound(z, (uLong)len) + 16;
    if (output_size < bound || output_size > KEEP_MAX)
        grow_output(bound);
    z->next_in = (Bytef *)data;
    z->avail_in = (uInt)len;
    size_t n = 0;
    do {
        if (n == output_size)
            grow_output(output_size * 2);
        z->next_out = (Bytef *)output + n;
        z->avail_out = (uInt)(output_size - n);
        if (deflate(z, Z_SYNC_FLUSH) == Z_STREAM_ERROR)
            return NULL;
        n = output_size - z->avail_out;
    } while (!z->avail_out);
    if (!own)
        deflateReset(z);
    /* Each message ends in an empty block, of which the last four bytes go without saying (RFC
     * 7692, 7.2.1); an empty message is one byte. */
    *out_len = n > 4 ? n - 4 : 0;
    if (!*out_len) {
        *out_len = 1;
        output[0] = 0;
    }
    return output;
}

/* Until the input is used up. */
static int inflate_some(z_stream *z, char **buf, size_t *len, size_t *size, size_t max)
{
    for (;;) {
        if (*len == *size) {
            if (max && *size > max)
                return -WS_STATUS_TOO_LARGE;
            *size = *size ? *size * 2 : OUT_FIRST;
            *buf = mem_realloc(*buf, *size);
        }
        size_t room = *size - *len;
        z->next_out = (Bytef *)*buf + *len;
        z->avail_out = room < UINT32_MAX ? (uInt)room : UINT32_MAX;
        uInt before = z->avail_out;
        int rc = inflate(z, Z_SYNC_FLUSH);
        *len += before - z->avail_out;
        if (max && *len > max)
            return -WS_STATUS_TOO_LARGE;
        if (rc == Z_STREAM_END) {
            /* A final block is allowed, and ends neither the message nor the context (RFC 7692,
             * 7.2.3.4). */
            if (inflateResetKeep(z) != Z_OK)
                return -WS_STATUS_INVALID;
            if (!z->avail_in)
                return 0;
            continue;
        }
        if (rc != Z_OK && rc != Z_BUF_ERROR)
            return -WS_STATUS_INVALID;
        if (!z->avail_in && z->avail_out)
            return 0;
        if (rc == Z_BUF_ERROR && z->avail_out)
            return 0;
    }
}

int ws_inflate(ws_inflater **in, bool keep, const uint8_t *data, size_t data_len, bool last,
               char **buf, size_t *len, size_t *size, size_t max)
{
    static const uint8_t tail[4] = {0x00, 0x00, 0xff, 0xff};
    if (!*in && !(*in = inflater_get()))
        return -WS_STATUS_FAILED;
    z_stream *z = &(*in)->z;
    z->next_in = (Bytef *)data;
    z->avail_in = (uInt)data_len;
    int rc = inflate_some(z, buf, len, size, max);
    if (rc == 0 && last) {
        z->next_in = (Bytef *)tail;
        z->avail_in = sizeof(tail);
        rc = inflate_some(z, buf, len, size, max);
    }
    if (rc < 0 || (last && !keep)) {
        ws_inflater_free(*in);
        *in = NULL;
    }
    return rc;
}
