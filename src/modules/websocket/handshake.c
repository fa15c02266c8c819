#include "handshake.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/random.h"
#include "modules/crypto/crypto.h"

enum { SHA1_LEN = 20 };

/* --- base64 ---------------------------------------------------------------------------------- */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void base64(char *to, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i += 3) {
        uint32_t bits = (uint32_t)data[i] << 16;
        bits |= i + 1 < len ? (uint32_t)data[i + 1] << 8 : 0;
        bits |= i + 2 < len ? (uint32_t)data[i + 2] : 0;
        *to++ = digits[bits >> 18];
        *to++ = digits[bits >> 12 & 63];
        *to++ = i + 1 < len ? digits[bits >> 6 & 63] : '=';
        *to++ = i + 2 < len ? digits[bits & 63] : '=';
    }
    *to = '\0';
}

/* --- the key --------------------------------------------------------------------------------- */

bool ws_key_is_valid(const char *key, size_t len)
{
    if (len != WS_KEY_LEN || key[22] != '=' || key[23] != '=')
        return false;
    for (size_t i = 0; i < 22; i++)
        if (!key[i] || !strchr(digits, key[i]))
            return false;
    return true;
}

void ws_accept_of(const char *key, char accept[WS_ACCEPT_LEN + 1])
{
    static const char suffix[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[WS_KEY_LEN + sizeof(suffix)];
    uint8_t digest[LINKS_DIGEST_MAX];
    memcpy(text, key, WS_KEY_LEN);
    memcpy(text + WS_KEY_LEN, suffix, sizeof(suffix));
    /* As a checksum, which is all that it is good for. */
    int len = links_crypto_hash(links_crypto_alg("sha1"), text, sizeof(text) - 1, digest);
    assert(len == SHA1_LEN);
    base64(accept, digest, (size_t)len);
}

void ws_new_key(char key[WS_KEY_LEN + 1])
{
    uint32_t nonce[4];
    for (int i = 0; i < 4; i++)
        nonce[i] = random_bits();
    base64(key, (const uint8_t *)nonce, sizeof(nonce));
}
