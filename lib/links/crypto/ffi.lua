-- The C side of crypto, as src/modules/crypto/crypto.h declares it.
local ffi = require "ffi"

ffi.cdef [[
int links_crypto_alg(const char *name);
int links_crypto_hash(int alg, const void *data, size_t len, uint8_t *out);
int links_crypto_hmac(int alg, const void *key, size_t key_len, const void *data,
                                size_t len, uint8_t *out);
typedef struct links_hasher links_hasher;
links_hasher *links_hasher_new(int alg, const void *key, size_t key_len);
int links_hasher_update(links_hasher *h, const void *data, size_t len);
int links_hasher_final(links_hasher *h, uint8_t *out);
void links_hasher_free(links_hasher *h);
int links_crypto_random(void *out, size_t len);
int links_crypto_uuid(int version, char *out);
int links_crypto_equal(const void *a, const void *b, size_t len);
typedef struct links_kdf_args {
    const char *password, *salt;
    size_t password_len, salt_len, out_len;
    double n, memory;
    int alg, r, p;
} links_kdf_args;
typedef struct links_kdf {
    const uint8_t *out;
} links_kdf;
int links_kdf_has(int kind);
int links_kdf_start(links_kdf **kdf, int kind, const links_kdf_args *args);
int links_kdf_result(links_kdf *kdf);
void links_kdf_free(links_kdf *kdf);
int links_crypto_hkdf(int alg, const void *key, size_t key_len, const void *salt,
                                size_t salt_len, const void *info, size_t info_len, uint8_t *out,
                                size_t out_len);
int links_aead_alg(const char *name, int *key_len);
typedef struct links_aead_args {
    const void *key, *nonce, *data, *aad;
    size_t len, aad_len;
} links_aead_args;
int links_aead_seal(int alg, const links_aead_args *args, uint8_t *out);
int links_aead_open(int alg, const links_aead_args *args, uint8_t *out);
typedef struct links_key {
    int kind, bits;
    int is_private;
} links_key;
int links_key_read(links_key **key, const char *pem, size_t len, const char *passphrase);
void links_key_free(links_key *key);
int links_key_pem(const links_key *key, int is_private, const char **out);
int links_key_sign(const links_key *key, int how, int alg, const void *data, size_t len,
                             uint8_t *out);
int links_key_verify(const links_key *key, int how, int alg, const void *data, size_t len,
                               const void *signature, size_t signature_len);
typedef struct links_keygen links_keygen;
int links_keygen_start(links_keygen **keygen, int kind, int bits);
int links_keygen_result(links_keygen *keygen, links_key **key);
void links_keygen_free(links_keygen *keygen);
]]

return ffi.C
