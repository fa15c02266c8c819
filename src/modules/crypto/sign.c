/*
 * Signatures, and the keys for them. A key is read once and kept by Lua; making one of RSA takes a
 * while and is done on the thread pool.
 */
#include <errno.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#include "base/mem.h"
#include "modules/crypto/crypto.h"
#include "modules/crypto/digest.h"
#include "modules/work.h"

enum {
    RSA_BITS_MIN = 2048, /* RFC 7518, 3.3: what is shorter can be broken */
    RSA_BITS_MAX = 8 * LINKS_SIGNATURE_MAX,
    PEM_MAX = 65536,
};

typedef struct key {
    links_key view; /* first: Lua's pointer is ours */
    EVP_PKEY *pkey;
} key;

static const key *key_of(const links_key *k) { return (const key *)k; }

/* --- keys ------------------------------------------------------------------------------------- */

/* The curves of NIST alone: others have numbers of the same lengths, and are of other standards. */
static bool has_known_curve(EVP_PKEY *pkey)
{
    char name[32];
    size_t len;
    return EVP_PKEY_get_group_name(pkey, name, sizeof(name), &len) &&
           (!strcmp(name, SN_X9_62_prime256v1) || !strcmp(name, SN_secp384r1) ||
            !strcmp(name, SN_secp521r1));
}

static int kind_of(EVP_PKEY *pkey)
{
    switch (EVP_PKEY_get_base_id(pkey)) {
    case EVP_PKEY_RSA:
        return LINKS_KEY_RSA;
    case EVP_PKEY_EC:
        return has_known_curve(pkey) ? LINKS_KEY_EC : LINKS_KEY_OTHER;
    case EVP_PKEY_ED25519:
        return LINKS_KEY_ED25519;
    default:
        return LINKS_KEY_OTHER;
    }
}

static links_key *key_new(EVP_PKEY *pkey, bool is_private)
{
    key *k = mem_new(key);
    k->view.kind = kind_of(pkey);
    k->view.bits = EVP_PKEY_get_bits(pkey);
    k->view.is_private = is_private;
    k->pkey = pkey;
    return &k->view;
}

static EVP_PKEY *read_certificate(BIO *in, void *passphrase)
{
    X509 *x = PEM_read_bio_X509(in, NULL, NULL, passphrase);
    EVP_PKEY *pkey = x ? X509_get_pubkey(x) : NULL;
    X509_free(x);
    return pkey;
}

int links_key_read(links_key **out, const char *pem, size_t len, const char *passphrase)
{
    if (len > PEM_MAX)
        return LINKS_PARSE;
    /* Without a passphrase libcrypto would ask for one on the terminal. */
    void *given = (void *)(uintptr_t)(passphrase ? passphrase : "");
    BIO *in = BIO_new_mem_buf(pem, (int)len);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(in, NULL, NULL, given);
    bool is_private = pkey != NULL;
    if (!pkey && BIO_reset(in) >= 0)
        pkey = PEM_read_bio_PUBKEY(in, NULL, NULL, given);
    if (!pkey && BIO_reset(in) >= 0)
        pkey = read_certificate(in, given);
    BIO_free(in);
    ERR_clear_error();
    if (!pkey)
        return LINKS_PARSE;
    *out = key_new(pkey, is_private);
    return 0;
}

void links_key_free(links_key *k)
{
    EVP_PKEY_free(((key *)k)->pkey);
    mem_free(k);
}

int links_key_pem(const links_key *k, int is_private, const char **out)
{
    static BIO *memory;
    EVP_PKEY *pkey = key_of(k)->pkey;
    char *data;
    if (is_private && !k->is_private)
        return LINKS_TYPE;
    BIO_free(memory); /* which clears what was in it */
    memory = BIO_new(BIO_s_secmem());
    int ok = memory &&
             (is_private ? PEM_write_bio_PKCS8PrivateKey(memory, pkey, NULL, NULL, 0, NULL, NULL)
                         : PEM_write_bio_PUBKEY(memory, pkey));
    ERR_clear_error();
    if (!ok)
        return LINKS_UNSUPPORTED;
    long n = BIO_get_mem_data(memory, &data);
    *out = data;
    return (int)n;
}

/* --- which key does for what ------------------------------------------------------------------ */

/* RFC 7518, 3.4: each hash has its curve. */
static bool is_curve_of(int bits, int digest_len)
{
    return (digest_len == 32 && bits == 256) || (digest_len == 48 && bits == 384) ||
           (digest_len == 64 && bits == 521);
}

/* 0 and the hash, NULL where there is none; LINKS_TYPE, LINKS_UNSUPPORTED. */
static int check(const links_key *k, int how, int alg, const EVP_MD **md)
{
    *md = NULL;
    if (how == LINKS_SIGN_ED25519)
        return k->kind == LINKS_KEY_ED25519 ? 0 : LINKS_TYPE;
    *md = digest_md(alg);
    if (!*md)
        return LINKS_UNSUPPORTED;
    if (how == LINKS_SIGN_ECDSA_RAW && !is_curve_of(k->bits, EVP_MD_get_size(*md)))
        return LINKS_TYPE;
    if (how == LINKS_SIGN_ECDSA || how == LINKS_SIGN_ECDSA_RAW)
        return k->kind == LINKS_KEY_EC ? 0 : LINKS_TYPE;
    bool fits = k->kind == LINKS_KEY_RSA && k->bits >= RSA_BITS_MIN && k->bits <= RSA_BITS_MAX;
    return fits ? 0 : LINKS_TYPE;
}

static int set_padding(EVP_PKEY_CTX *ctx, int how)
{
    if (how != LINKS_SIGN_RSA_PSS)
        return 1;
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) > 0 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) > 0;
}

/* --- ECDSA's two numbers ---------------------------------------------------------------------- */

/* DER to two numbers of `size` bytes. */
static int to_raw(uint8_t *out, size_t len, int size)
{
    const unsigned char *at = out;
    ECDSA_SIG *numbers = d2i_ECDSA_SIG(NULL, &at, (long)len);
    int ok = numbers && BN_bn2binpad(ECDSA_SIG_get0_r(numbers), out, size) == size &&
             BN_bn2binpad(ECDSA_SIG_get0_s(numbers), out + size, size) == size;
    ECDSA_SIG_free(numbers);
    return ok ? 2 * size : -EIO;
}

/* ... and back: the length of what is at *out, which OPENSSL_free frees; or 0. */
static int to_der(const uint8_t *raw, size_t len, int size, unsigned char **out)
{
    if (len != 2 * (size_t)size)
        return 0;
    ECDSA_SIG *numbers = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, size, NULL), *s = BN_bin2bn(raw + size, size, NULL);
    if (!numbers || !r || !s || !ECDSA_SIG_set0(numbers, r, s)) {
        BN_free(r);
        BN_free(s);
        ECDSA_SIG_free(numbers);
        return 0;
    }
    int n = i2d_ECDSA_SIG(numbers, out);
    ECDSA_SIG_free(numbers);
    return n > 0 ? n : 0;
}

static int bytes_of(int bits) { return (bits + 7) / 8; }

/* --- signing ---------------------------------------------------------------------------------- */

int links_key_sign(const links_key *k, int how, int alg, const void *data, size_t len, uint8_t *out)
{
    const EVP_MD *md;
    EVP_PKEY_CTX *ctx;
    size_t n = LINKS_SIGNATURE_MAX;
    int rc = check(k, how, alg, &md);
    if (rc < 0)
        return rc;
    if (!k->is_private)
        return LINKS_TYPE;
    EVP_MD_CTX *sign = EVP_MD_CTX_new();
    int ok = sign && EVP_DigestSignInit(sign, &ctx, md, NULL, key_of(k)->pkey) > 0 &&
             set_padding(ctx, how) && EVP_DigestSign(sign, out, &n, data, len) > 0;
    EVP_MD_CTX_free(sign);
    ERR_clear_error();
    if (!ok)
        return -EIO;
    return how == LINKS_SIGN_ECDSA_RAW ? to_raw(out, n, bytes_of(k->bits)) : (int)n;
}

int links_key_verify(const links_key *k, int how, int alg, const void *data, size_t len,
                     const void *signature, size_t signature_len)
{
    const EVP_MD *md;
    EVP_PKEY_CTX *ctx;
    unsigned char *der = NULL;
    int rc = check(k, how, alg, &md);
    if (rc < 0)
        return rc;
    if (how == LINKS_SIGN_ECDSA_RAW) {
        signature_len = (size_t)to_der(signature, signature_len, bytes_of(k->bits), &der);
        signature = der;
        if (!signature_len)
            return 0;
    }
    /* RFC 8017, 8.1.2 and 8.2.2: libcrypto takes one without its leading zero for the same
     * number. */
    if (EVP_PKEY_is_a(key_of(k)->pkey, "RSA") &&
        signature_len != (size_t)EVP_PKEY_get_size(key_of(k)->pkey))
        return 0;
    EVP_MD_CTX *verify = EVP_MD_CTX_new();
    int ok = verify && EVP_DigestVerifyInit(verify, &ctx, md, NULL, key_of(k)->pkey) > 0 &&
             set_padding(ctx, how) &&
             EVP_DigestVerify(verify, signature, signature_len, data, len) == 1;
    EVP_MD_CTX_free(verify);
    OPENSSL_free(der);
    ERR_clear_error();
    return ok;
}

/* --- making keys ------------------------------------------------------------------------------ */

struct links_keygen {
    work work;
    int kind, bits;
    EVP_PKEY *pkey; /* taken by the result */
};

static const char *curve_of(int bits)
{
    return bits == 521 ? "P-521" : bits == 384 ? "P-384" : "P-256";
}

static void run(work *w)
{
    links_keygen *g = CONTAINER_OF(w, links_keygen, work);
    if (g->kind == LINKS_KEY_RSA)
        g->pkey = EVP_RSA_gen((unsigned)g->bits);
    else if (g->kind == LINKS_KEY_EC)
        g->pkey = EVP_EC_gen(curve_of(g->bits));
    else
        g->pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    ERR_clear_error();
}

static void release(work *w)
{
    links_keygen *g = CONTAINER_OF(w, links_keygen, work);
    EVP_PKEY_free(g->pkey);
    mem_free(g);
}

static const work_ops ops = {.run = run, .free = release};

int links_keygen_start(links_keygen **out, int kind, int bits)
{
    links_keygen *g = mem_new(links_keygen);
    work_init(&g->work, &ops);
    g->kind = kind;
    g->bits = bits;
    int rc = work_start(&g->work);
    if (rc < 0) {
        release(&g->work);
        return rc;
    }
    *out = g;
    return 0;
}

int links_keygen_result(links_keygen *g, links_key **out)
{
    int rc = work_wait(&g->work, "crypto");
    if (rc < 0)
        return rc;
    if (!g->pkey)
        return -EIO;
    *out = key_new(g->pkey, true);
    g->pkey = NULL;
    return 0;
}

void links_keygen_free(links_keygen *g) { work_leave(&g->work); }
