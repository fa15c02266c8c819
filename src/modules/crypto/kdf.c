/*
 * Keys from passwords take long on purpose: they are made on the thread pool. OpenSSL has Argon2
 * since 3.2, so whether it is there is asked of the library that runs.
 */
#include <assert.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

#include "base/mem.h"
#include "modules/crypto/crypto.h"
#include "modules/crypto/digest.h"
#include "modules/work.h"

typedef struct derivation {
    links_kdf view; /* first: Lua's pointer is ours */
    work work;
    EVP_KDF *kdf;
    int kind, rc;
    links_kdf_args args;
    uint8_t *out, *password, *salt; /* behind the struct, in one piece */
    size_t size;
} derivation;

static const char *const names[] = {"PBKDF2", "SCRYPT", "ARGON2ID"};

static EVP_KDF *kdf_of(int kind)
{
    static EVP_KDF *kdfs[sizeof(names) / sizeof(names[0])];
    if (!kdfs[kind])
        kdfs[kind] = EVP_KDF_fetch(NULL, names[kind], NULL);
    return kdfs[kind];
}

int links_kdf_has(int kind) { return kdf_of(kind) != NULL; }

/* --- on a thread ------------------------------------------------------------------------------ */

enum { PARAMS_MAX = 8 };

static OSSL_PARAM octets(const char *name, void *data, size_t len)
{
    return OSSL_PARAM_construct_octet_string(name, data, len);
}

static int derive(derivation *d, OSSL_PARAM *params)
{
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(d->kdf);
    int ok = ctx && EVP_KDF_derive(ctx, d->out, d->args.out_len, params) > 0;
    EVP_KDF_CTX_free(ctx);
    return ok ? 0 : -EINVAL;
}

static int derive_pbkdf2(derivation *d)
{
    uint64_t iterations = (uint64_t)d->args.n;
    int unchecked = 1; /* the least that a standard asks for: salts and keys may be shorter */
    OSSL_PARAM params[PARAMS_MAX] = {
        octets(OSSL_KDF_PARAM_PASSWORD, d->password, d->args.password_len),
        octets(OSSL_KDF_PARAM_SALT, d->salt, d->args.salt_len),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_ITER, &iterations),
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)digest_name(d->args.alg),
                                         0),
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_PKCS5, &unchecked),
        OSSL_PARAM_construct_end(),
    };
    return derive(d, params);
}

static int derive_scrypt(derivation *d)
{
    uint64_t n = (uint64_t)d->args.n, max = UINT64_C(1) << 40;
    uint32_t r = (uint32_t)d->args.r, p = (uint32_t)d->args.p;
    OSSL_PARAM params[PARAMS_MAX] = {
        octets(OSSL_KDF_PARAM_PASSWORD, d->password, d->args.password_len),
        octets(OSSL_KDF_PARAM_SALT, d->salt, d->args.salt_len),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_N, &n),
        OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_R, &r),
        OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_SCRYPT_P, &p),
        OSSL_PARAM_construct_uint64(OSSL_KDF_PARAM_SCRYPT_MAXMEM, &max),
        OSSL_PARAM_construct_end(),
    };
    return derive(d, params);
}

static int derive_argon2(derivation *d)
{
    uint32_t passes = (uint32_t)d->args.n, memory = (uint32_t)d->args.memory;
    uint32_t lanes = (uint32_t)d->args.p;
    OSSL_PARAM params[PARAMS_MAX] = {
        octets(OSSL_KDF_PARAM_PASSWORD, d->password, d->args.password_len),
        octets(OSSL_KDF_PARAM_SALT, d->salt, d->args.salt_len),
        OSSL_PARAM_construct_uint32(OSSL_KDF_PARAM_ITER, &passes),
        OSSL_PARAM_construct_uint32("memcost", &memory),
        OSSL_PARAM_construct_uint32("lanes", &lanes),
        OSSL_PARAM_construct_end(),
    };
    return derive(d, params);
}

static void run(work *w)
{
    static int (*const kinds[])(derivation *) = {derive_pbkdf2, derive_scrypt, derive_argon2};
    derivation *d = CONTAINER_OF(w, derivation, work);
    d->rc = kinds[d->kind](d);
}

static void release(work *w)
{
    derivation *d = CONTAINER_OF(w, derivation, work);
    OPENSSL_cleanse(d->out, d->size);
    mem_free(d);
}

static const work_ops ops = {.run = run, .free = release};

/* --- for Lua ---------------------------------------------------------------------------------- */

int links_kdf_start(links_kdf **out, int kind, const links_kdf_args *args)
{
    EVP_KDF *kdf = kdf_of(kind);
    if (!kdf || (kind == LINKS_KDF_PBKDF2 && !digest_md(args->alg)))
        return LINKS_UNSUPPORTED;
    size_t size = args->out_len + args->password_len + args->salt_len;
    derivation *d = mem_zalloc(sizeof(*d) + size);
    work_init(&d->work, &ops);
    d->kdf = kdf;
    d->kind = kind;
    d->args = *args;
    d->size = size;
    d->out = (uint8_t *)(d + 1);
    d->password = d->out + args->out_len;
    d->salt = d->password + args->password_len;
    memcpy(d->password, args->password, args->password_len);
    memcpy(d->salt, args->salt, args->salt_len);
    int rc = work_start(&d->work);
    if (rc < 0) {
        release(&d->work);
        return rc;
    }
    d->view.out = d->out;
    *out = &d->view;
    return 0;
}

int links_kdf_result(links_kdf *kdf)
{
    derivation *d = (derivation *)kdf;
    int rc = work_wait(&d->work, "crypto");
    return rc < 0 ? rc : d->rc;
}

void links_kdf_free(links_kdf *kdf) { work_leave(&((derivation *)kdf)->work); }

int links_crypto_hkdf(int alg, const void *key, size_t key_len, const void *salt, size_t salt_len,
                      const void *info, size_t info_len, uint8_t *out, size_t out_len)
{
    static EVP_KDF *hkdf;
    if (!hkdf)
        hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    if (!hkdf || !digest_md(alg))
        return LINKS_UNSUPPORTED;
    OSSL_PARAM params[PARAMS_MAX] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)digest_name(alg), 0),
        octets(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)key, key_len),
        octets(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt, salt_len),
        octets(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info, info_len),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(hkdf);
    int ok = ctx && EVP_KDF_derive(ctx, out, out_len, params) > 0;
    EVP_KDF_CTX_free(ctx);
    return ok ? 0 : -EINVAL;
}
