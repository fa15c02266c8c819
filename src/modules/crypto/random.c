#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>
#include <time.h>

#include "modules/crypto/crypto.h"

int links_crypto_random(void *out, size_t len)
{
    uint8_t *at = out;
    while (len) {
        int n = len < INT_MAX ? (int)len : INT_MAX;
        if (RAND_bytes(at, n) != 1)
            return -EIO;
        at += n;
        len -= (size_t)n;
    }
    return 0;
}

/* --- UUIDs ------------------------------------------------------------------------------------ */

static void put_bytes(uint8_t *at, uint64_t value, int n)
{
    for (int i = n - 1; i >= 0; i--, value >>= 8)
        at[i] = (uint8_t)value;
}

/* Milliseconds and a counter of 12 bits that begins somewhere in its lower half (RFC 9562, 6.2,
 * method 1). A clock that stands still or goes back does not make them shrink, and a counter that
 * is full goes into the next millisecond. */
static void stamp(uint8_t *id)
{
    static uint64_t last_ms;
    static unsigned counter;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    uint64_t now = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
    if (now > last_ms) {
        last_ms = now;
        counter = (unsigned)(id[6] << 8 | id[7]) & 0x7ff;
    } else if (++counter > 0xfff) {
        last_ms++;
        counter = (unsigned)(id[6] << 8 | id[7]) & 0x7ff;
    }
    put_bytes(id, last_ms, 6);
    put_bytes(id + 6, counter, 2);
}

int links_crypto_uuid(int version, char *out)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t id[16];
    int rc = links_crypto_random(id, sizeof(id));
    if (rc < 0)
        return rc;
    if (version == 7)
        stamp(id);
    id[6] = (uint8_t)((id[6] & 0x0f) | version << 4);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *out++ = '-';
        *out++ = digits[id[i] >> 4];
        *out++ = digits[id[i] & 15];
    }
    return 0;
}

int links_crypto_equal(const void *a, const void *b, size_t len)
{
    return CRYPTO_memcmp(a, b, len) == 0;
}
