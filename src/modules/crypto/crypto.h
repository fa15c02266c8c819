/*
 * Cryptography as Lua calls it (lib/links/crypto.lua), on OpenSSL's libcrypto. Algorithms are
 * looked up once and kept: a look-up costs more than hashing a
 * cookie. */
#ifndef LINKS_MODULES_CRYPTO_CRYPTO_H
#define LINKS_MODULES_CRYPTO_CRYPTO_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Bytes of the longest digest. */
enum { LINKS_DIGEST_MAX = 64 };

/* --- digests (digest.c) ---------------------------------------------------------------------- */

/* The number of a hash by its name in small letters ("sha256"); LINKS_NOT_FOUND for one that nobody
 * knows, LINKS_UNSUPPORTED where this libcrypto does without it. */
LINKS_API int links_crypto_alg(const char *name);

/* Hashes: the length of the digest, which goes to `out`; LINKS_UNSUPPORTED. */
LINKS_API int links_crypto_hash(int alg, const void *data, size_t len, uint8_t *out);
LINKS_API int links_crypto_hmac(int alg, const void *key, size_t key_len, const void *data,
                                size_t len, uint8_t *out);

/* The same for what comes in pieces; an HMAC where `key` is not NULL. NULL: unsupported. A hasher
 * that has given its digest takes nothing more: LINKS_CLOSED. */
typedef struct links_hasher links_hasher;
LINKS_API links_hasher *links_hasher_new(int alg, const void *key, size_t key_len);
LINKS_API int links_hasher_update(links_hasher *h, const void *data, size_t len);
LINKS_API int links_hasher_final(links_hasher *h, uint8_t *out);
LINKS_API void links_hasher_free(links_hasher *h);

/* --- random (random.c) ------------------------------------------------------------------------ */

/* Random bytes fit for keys. 0, or -EIO where the system has none. */
LINKS_API int links_crypto_random(void *out, size_t len);

/* A UUID of version 4 or 7 (RFC 9562), 36 characters. Those of version 7 grow. 0 or -EIO. */
LINKS_API int links_crypto_uuid(int version, char *out);

/* Whether they are the same, in a time that does not tell where they differ. */
LINKS_API int links_crypto_equal(const void *a, const void *b, size_t len);

/* --- keys from passwords and other keys (kdf.c) ----------------------------------------------- */

enum {
    LINKS_KDF_PBKDF2,
    LINKS_KDF_SCRYPT,
    LINKS_KDF_ARGON2ID,
};

typedef struct links_kdf_args {
    const char *password, *salt;
    size_t password_len, salt_len, out_len;
    double n, memory; /* iterations, or scrypt's N; KiB of argon2 */
    int alg, r, p;
} links_kdf_args;

typedef struct links_kdf {
    const uint8_t *out;
} links_kdf;

/* Whether this libcrypto has it: 1 or 0. */
LINKS_API int links_kdf_has(int kind);

/* Begins to derive a key on a thread of the pool. 0; LINKS_UNSUPPORTED, LINKS_POOL_FULL. */
LINKS_API int links_kdf_start(links_kdf **kdf, int kind, const links_kdf_args *args);

/* Parks until it is done. 0, and `out` is there; -EINVAL where libcrypto refuses the parameters. */
LINKS_API int links_kdf_result(links_kdf *kdf);

/* Lets go of it, whether or not a thread is at it. */
LINKS_API void links_kdf_free(links_kdf *kdf);

/* HKDF (RFC 5869), at once. 0; LINKS_UNSUPPORTED; -EINVAL. */
LINKS_API int links_crypto_hkdf(int alg, const void *key, size_t key_len, const void *salt,
                                size_t salt_len, const void *info, size_t info_len, uint8_t *out,
                                size_t out_len);

/* --- authenticated encryption (aead.c) -------------------------------------------------------- */

enum {
    LINKS_AEAD_NONCE = 12,
    LINKS_AEAD_TAG = 16,
};

/* The number of a cipher by its name ("aes-256-gcm") and the bytes of its key; LINKS_NOT_FOUND,
 * LINKS_UNSUPPORTED. */
LINKS_API int links_aead_alg(const char *name, int *key_len);

typedef struct links_aead_args {
    const void *key, *nonce, *data, *aad;
    size_t len, aad_len;
} links_aead_args;

/* Encrypts: `out` gets `len` bytes and the tag. 0; -EIO. */
LINKS_API int links_aead_seal(int alg, const links_aead_args *args, uint8_t *out);

/* Decrypts `len` bytes, the tag included: `out` gets LINKS_AEAD_TAG less. 0; -EBADMSG for what was
 * not made with this key, nonce and aad; then `out` is zeros. */
LINKS_API int links_aead_open(int alg, const links_aead_args *args, uint8_t *out);

/* --- signatures (sign.c) ---------------------------------------------------------------------- */

enum {
    LINKS_KEY_OTHER, /* not for signatures */
    LINKS_KEY_RSA,
    LINKS_KEY_EC,
    LINKS_KEY_ED25519,
};

/* A key, private or public. */
typedef struct links_key {
    int kind, bits; /* of RSA the modulus', of EC the curve's */
    int is_private;
} links_key;

/* The first key in PEM: a private one, perhaps encrypted, a public one, or that of a certificate.
 * 0; LINKS_PARSE: none, or another passphrase. */
LINKS_API int links_key_read(links_key **key, const char *pem, size_t len, const char *passphrase);
LINKS_API void links_key_free(links_key *key);

/* As PEM (PKCS #8; the public one as X.509 has it): its length, at *out until the next call. */
LINKS_API int links_key_pem(const links_key *key, int is_private, const char **out);

/* The ways to sign. */
enum {
    LINKS_SIGN_ED25519,
    LINKS_SIGN_ECDSA,     /* the two numbers in DER, as certificates have them */
    LINKS_SIGN_ECDSA_RAW, /* one behind the other, and the curve that JOSE pairs with the hash */
    LINKS_SIGN_RSA,       /* PKCS #1 1.5 */
    LINKS_SIGN_RSA_PSS,   /* with a salt as long as the digest */
    LINKS_SIGNATURE_MAX = 2048,
};

/* Signs by a hash of links_crypto_alg, which Ed25519 does without: the length of the signature;
 * LINKS_TYPE for a key that does not do for this, LINKS_UNSUPPORTED, -EIO. */
LINKS_API int links_key_sign(const links_key *key, int how, int alg, const void *data, size_t len,
                             uint8_t *out);

/* 1: the signature is of this key and data; 0: it is not; LINKS_TYPE, LINKS_UNSUPPORTED. */
LINKS_API int links_key_verify(const links_key *key, int how, int alg, const void *data, size_t len,
                               const void *signature, size_t signature_len);

/* Begins to make a key on a thread of the pool; `bits` as of links_key. 0; LINKS_POOL_FULL. */
typedef struct links_keygen links_keygen;
LINKS_API int links_keygen_start(links_keygen **keygen, int kind, int bits);

/* Parks until it is there. 0 and the key, once; -EIO. */
LINKS_API int links_keygen_result(links_keygen *keygen, links_key **key);

/* Lets go of it, whether or not a thread is at it. */
LINKS_API void links_keygen_free(links_keygen *keygen);

#endif
