#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#include "modules/crypto/crypto.h"

static struct {
    const char *name, *ssl_name;
    int key_len;
    EVP_CIPHER *cipher;
} algs[] = {
    {.name = "aes-256-gcm", .ssl_name = "AES-256-GCM", .key_len = 32},
    {.name = "chacha20-poly1305", .ssl_name = "ChaCha20-Poly1305", .key_len = 32},
    {.name = "aes-128-gcm", .ssl_name = "AES-128-GCM", .key_len = 16},
};

enum { NALGS = sizeof(algs) / sizeof(algs[0]), PART = 1 << 30 };

/* The loop's thread alone comes here. */
static EVP_CIPHER_CTX *scratch;

int links_aead_alg(const char *name, int *key_len)
{
    for (int i = 0; i < NALGS; i++) {
        if (strcmp(algs[i].name, name) != 0)
            continue;
        if (!algs[i].cipher)
            algs[i].cipher = EVP_CIPHER_fetch(NULL, algs[i].ssl_name, NULL);
        *key_len = algs[i].key_len;
        return algs[i].cipher ? i : LINKS_UNSUPPORTED;
    }
    return LINKS_NOT_FOUND;
}

/* libcrypto counts in int; without `out` these are additional data. */
static int feed(uint8_t *out, const void *data, size_t len)
{
    const uint8_t *at = data;
    while (len) {
        int n = len < PART ? (int)len : PART, done = 0;
        if (!EVP_CipherUpdate(scratch, out, &done, at, n))
            return 0;
        at += n;
        len -= (size_t)n;
        if (out)
            out += done;
    }
    return 1;
}

static int begin(int alg, const links_aead_args *args, int encrypt)
{
    if (!scratch)
        scratch = EVP_CIPHER_CTX_new();
    return scratch &&
           EVP_CipherInit_ex2(scratch, algs[alg].cipher, args->key, args->nonce, encrypt, NULL) &&
           feed(NULL, args->aad, args->aad_len);
}

/* The key does not stay in memory. */
static void end(void) { EVP_CIPHER_CTX_reset(scratch); }

int links_aead_seal(int alg, const links_aead_args *args, uint8_t *out)
{
    int rest = 0;
    int ok = begin(alg, args, 1) && feed(out, args->data, args->len) &&
             EVP_CipherFinal_ex(scratch, out + args->len, &rest) &&
             EVP_CIPHER_CTX_ctrl(scratch, EVP_CTRL_AEAD_GET_TAG, LINKS_AEAD_TAG, out + args->len);
    end();
    return ok ? 0 : -EIO;
}

int links_aead_open(int alg, const links_aead_args *args, uint8_t *out)
{
    if (args->len < LINKS_AEAD_TAG)
        return -EBADMSG;
    size_t len = args->len - LINKS_AEAD_TAG;
    uint8_t tag[LINKS_AEAD_TAG], none[EVP_MAX_BLOCK_LENGTH];
    int rest = 0;
    memcpy(tag, (const uint8_t *)args->data + len, sizeof(tag));
    int ok = begin(alg, args, 0) &&
             EVP_CIPHER_CTX_ctrl(scratch, EVP_CTRL_AEAD_SET_TAG, LINKS_AEAD_TAG, tag) &&
             feed(out, args->data, len) && EVP_CipherFinal_ex(scratch, none, &rest);
    end();
    if (ok)
        return 0;
    OPENSSL_cleanse(out, len);
    return -EBADMSG;
}
