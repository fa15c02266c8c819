#include "modules/crypto/digest.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <string.h>

#include "base/mem.h"
#include "modules/crypto/crypto.h"

/* The loop's thread alone comes here, so what is looked up is kept without a lock, and one context
 * of each kind does for all. */
static struct {
    const char *name, *ssl_name;
    EVP_MD *md;
    EVP_MAC_CTX *hmac; /* with the digest set and without a key */
} algs[] = {
    {.name = "md5", .ssl_name = "MD5"},
    {.name = "sha1", .ssl_name = "SHA1"},
    {.name = "sha224", .ssl_name = "SHA2-224"},
    {.name = "sha256", .ssl_name = "SHA2-256"},
    {.name = "sha384", .ssl_name = "SHA2-384"},
    {.name = "sha512", .ssl_name = "SHA2-512"},
    {.name = "sha3-256", .ssl_name = "SHA3-256"},
    {.name = "sha3-512", .ssl_name = "SHA3-512"},
    {.name = "blake2b512", .ssl_name = "BLAKE2B-512"},
    {.name = "blake2s256", .ssl_name = "BLAKE2S-256"},
};

enum { NALGS = sizeof(algs) / sizeof(algs[0]) };

static EVP_MD_CTX *scratch;

_Static_assert((int)LINKS_DIGEST_MAX == (int)EVP_MAX_MD_SIZE, "room for every digest");

const EVP_MD *digest_md(int alg)
{
    if (alg < 0 || alg >= NALGS)
        return NULL;
    if (!algs[alg].md)
        algs[alg].md = EVP_MD_fetch(NULL, algs[alg].ssl_name, NULL);
    return algs[alg].md;
}

const char *digest_name(int alg) { return algs[alg].ssl_name; }

int links_crypto_alg(const char *name)
{
    for (int i = 0; i < NALGS; i++)
        if (!strcmp(algs[i].name, name))
            return digest_md(i) ? i : LINKS_UNSUPPORTED;
    return LINKS_NOT_FOUND;
}

int links_crypto_hash(int alg, const void *data, size_t len, uint8_t *out)
{
    unsigned n = 0;
    const EVP_MD *md = digest_md(alg);
    if (!md)
        return LINKS_UNSUPPORTED;
    if (!scratch)
        scratch = EVP_MD_CTX_new();
    if (!scratch || !EVP_DigestInit_ex2(scratch, md, NULL) ||
        !EVP_DigestUpdate(scratch, data, len) || !EVP_DigestFinal_ex(scratch, out, &n))
        return LINKS_UNSUPPORTED;
    return (int)n;
}

static EVP_MAC_CTX *hmac_of(int alg)
{
    static EVP_MAC *hmac;
    if (!digest_md(alg))
        return NULL;
    if (algs[alg].hmac)
        return algs[alg].hmac;
    if (!hmac)
        hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)algs[alg].ssl_name, 0),
        OSSL_PARAM_construct_end(),
    };
    if (ctx && !EVP_MAC_CTX_set_params(ctx, params)) {
        EVP_MAC_CTX_free(ctx);
        return NULL;
    }
    return algs[alg].hmac = ctx;
}

/* Without a key libcrypto would go on with the last one. */
static const void *key_or_empty(const void *key) { return key ? key : ""; }

int links_crypto_hmac(int alg, const void *key, size_t key_len, const void *data, size_t len,
                      uint8_t *out)
{
    size_t n = 0;
    EVP_MAC_CTX *ctx = hmac_of(alg);
    if (!ctx || !EVP_MAC_init(ctx, key_or_empty(key), key_len, NULL) ||
        !EVP_MAC_update(ctx, data, len) || !EVP_MAC_final(ctx, out, &n, LINKS_DIGEST_MAX))
        return LINKS_UNSUPPORTED;
    return (int)n;
}

/* --- in pieces ------------------------------------------------------------------------------- */

struct links_hasher {
    EVP_MD_CTX *md;
    EVP_MAC_CTX *mac;
    int over;
};

void links_hasher_free(links_hasher *h)
{
    EVP_MD_CTX_free(h->md);
    EVP_MAC_CTX_free(h->mac);
    mem_free(h);
}

static int begin(links_hasher *h, int alg, const void *key, size_t key_len)
{
    if (!key) {
        const EVP_MD *md = digest_md(alg);
        h->md = EVP_MD_CTX_new();
        return md && h->md && EVP_DigestInit_ex2(h->md, md, NULL);
    }
    EVP_MAC_CTX *ctx = hmac_of(alg);
    h->mac = ctx ? EVP_MAC_CTX_dup(ctx) : NULL;
    return h->mac && EVP_MAC_init(h->mac, key, key_len, NULL);
}

links_hasher *links_hasher_new(int alg, const void *key, size_t key_len)
{
    links_hasher *h = mem_new(links_hasher);
    if (begin(h, alg, key, key_len))
        return h;
    links_hasher_free(h);
    return NULL;
}

int links_hasher_update(links_hasher *h, const void *data, size_t len)
{
    if (h->over)
        return LINKS_CLOSED;
    int ok = h->mac ? EVP_MAC_update(h->mac, data, len) : EVP_DigestUpdate(h->md, data, len);
    return ok ? 0 : LINKS_UNSUPPORTED;
}

int links_hasher_final(links_hasher *h, uint8_t *out)
{
    size_t n = 0;
    unsigned short_n = 0;
    if (h->over)
        return LINKS_CLOSED;
    h->over = 1;
    if (h->mac)
        return EVP_MAC_final(h->mac, out, &n, LINKS_DIGEST_MAX) ? (int)n : LINKS_UNSUPPORTED;
    return EVP_DigestFinal_ex(h->md, out, &short_n) ? (int)short_n : LINKS_UNSUPPORTED;
}
