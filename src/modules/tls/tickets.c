/*
 * Session tickets. Their keys are derived from a secret and the time, so processes that have the
 * same secret take each other's tickets and change keys together, without a word between them.
 */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <string.h>
#include <time.h>

#include "modules/crypto/crypto.h"
#include "modules/tls/context.h"

static const tls_ticket_key *key_of(tls_context *c, int64_t epoch)
{
    tls_ticket_key *k = &c->tickets[epoch % 3];
    uint8_t out[sizeof(k->name) + sizeof(k->cipher) + sizeof(k->mac)];
    char info[32] = "links tls ticket";
    if (k->epoch == epoch)
        return k;
    memcpy(info + 16, &epoch, sizeof(epoch));
    static int sha256 = -1;
    if (sha256 < 0)
        sha256 = links_crypto_alg("sha256");
    if (links_crypto_hkdf(sha256, c->secret, sizeof(c->secret), "", 0, info, 24, out, sizeof(out)) <
        0)
        return NULL;
    memcpy(k->name, out, sizeof(k->name));
    memcpy(k->cipher, out + sizeof(k->name), sizeof(k->cipher));
    memcpy(k->mac, out + sizeof(k->name) + sizeof(k->cipher), sizeof(k->mac));
    k->epoch = epoch;
    return k;
}

static int set_keys(const tls_ticket_key *k, const unsigned char *iv, EVP_CIPHER_CTX *cipher,
                    EVP_MAC_CTX *mac, int encrypt)
{
    static EVP_CIPHER *aes;
    if (!aes)
        aes = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)k->mac,
                                          sizeof(k->mac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t) "SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    return aes && EVP_CipherInit_ex(cipher, aes, NULL, k->cipher, iv, encrypt) &&
           EVP_MAC_CTX_set_params(mac, params);
}

/* 1, or 2 where the client is to get a new one; 0: nobody here has made it; -1: a failure. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int encrypt)
{
    tls_context *c = tls_context_of_ssl(ssl);
    int64_t now = (int64_t)time(NULL) / TLS_TICKET_ROTATION_S;
    const tls_ticket_key *k;
    if (encrypt) {
        k = key_of(c, now);
        if (!k || RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1)
            return -1;
        memcpy(name, k->name, sizeof(k->name));
        return set_keys(k, iv, cipher, mac, 1) ? 1 : -1;
    }
    /* Clients of TLS 1.3 use a ticket once (RFC 8446, C.4): they get the next one each time. */
    int good = SSL_version(ssl) == TLS1_3_VERSION ? 2 : 1;
    /* One of a moment ago, and that of a process whose clock is a little ahead. */
    for (int64_t epoch = now + 1; epoch >= now - 1; epoch--) {
        k = key_of(c, epoch);
        if (k && !memcmp(name, k->name, sizeof(k->name)))
            return !set_keys(k, iv, cipher, mac, 0) ? -1 : epoch == now ? good : 2;
    }
    return 0;
}

void tls_tickets_use(tls_context *c, SSL_CTX *ssl)
{
    (void)c;
    (void)SSL_CTX_set_tlsext_ticket_key_evp_cb(ssl, on_ticket);
}
