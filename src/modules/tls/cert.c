/*
 * Certificates as text, and one for trying things out.
 */
#include <arpa/inet.h>
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "modules/net/address.h"
#include "modules/tls/context.h"

/* Results lie here until the next call. */
static BIO *memory;

static int result(const char **out)
{
    char *data;
    long n = BIO_get_mem_data(memory, &data);
    *out = data;
    return (int)n;
}

static int begin(void)
{
    if (!memory)
        memory = BIO_new(BIO_s_mem());
    return memory && BIO_reset(memory) > 0;
}

/* --- reading ---------------------------------------------------------------------------------- */

static int put_time(const ASN1_TIME *t)
{
    struct tm tm;
    return ASN1_TIME_to_tm(t, &tm) &&
           BIO_printf(memory, "%04d-%02d-%02dT%02d:%02d:%02dZ", tm.tm_year + 1900, tm.tm_mon + 1,
                      tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec) > 0;
}

static int put_name(const X509_NAME *name)
{
    return X509_NAME_print_ex(memory, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0;
}

static int put_common_name(const X509_NAME *name)
{
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    if (at < 0)
        return 0;
    const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    return ASN1_STRING_print_ex(memory, value, ASN1_STRFLGS_UTF8_CONVERT) >= 0;
}

static void put_bytes_as_text(const char *kind, const ASN1_STRING *value)
{
    const unsigned char *data = ASN1_STRING_get0_data(value);
    int len = ASN1_STRING_length(value);
    BIO_printf(memory, "%s:", kind);
    for (int i = 0; i < len; i++) {
        /* A name with a line end would be two. */
        char ch = data[i] > ' ' && data[i] < 127 ? (char)data[i] : '?';
        BIO_write(memory, &ch, 1);
    }
    BIO_puts(memory, "\n");
}

static void put_address(const ASN1_OCTET_STRING *value)
{
    char text[INET6_ADDRSTRLEN];
    int len = ASN1_STRING_length(value);
    if (len != 4 && len != 16)
        return;
    inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(value), text, sizeof(text));
    BIO_printf(memory, "IP:%s\n", text);
}

static int put_names(const X509 *x)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    if (!names)
        return 0;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        switch (name->type) {
        case GEN_DNS:
            put_bytes_as_text("DNS", name->d.dNSName);
            break;
        case GEN_EMAIL:
            put_bytes_as_text("email", name->d.rfc822Name);
            break;
        case GEN_URI:
            put_bytes_as_text("URI", name->d.uniformResourceIdentifier);
            break;
        case GEN_IPADD:
            put_address(name->d.iPAddress);
            break;
        default:
            break;
        }
    }
    GENERAL_NAMES_free(names);
    return 1;
}

static int put_fingerprint(const X509 *x)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (!X509_digest(x, EVP_sha256(), digest, &n))
        return 0;
    for (unsigned i = 0; i < n; i++)
        BIO_printf(memory, "%02x", digest[i]);
    return 1;
}

static int put(const X509 *x, int what)
{
    switch (what) {
    case LINKS_CERT_SUBJECT:
        return put_name(X509_get_subject_name(x));
    case LINKS_CERT_ISSUER:
        return put_name(X509_get_issuer_name(x));
    case LINKS_CERT_COMMON_NAME:
        return put_common_name(X509_get_subject_name(x));
    case LINKS_CERT_NAMES:
        return put_names(x);
    case LINKS_CERT_NOT_BEFORE:
        return put_time(X509_get0_notBefore(x));
    case LINKS_CERT_NOT_AFTER:
        return put_time(X509_get0_notAfter(x));
    case LINKS_CERT_SERIAL:
        return i2a_ASN1_INTEGER(memory, X509_get0_serialNumber((X509 *)(uintptr_t)x)) > 0;
    case LINKS_CERT_FINGERPRINT:
        return put_fingerprint(x);
    default:
        return 0;
    }
}

int links_cert_text(const char *pem, size_t len, int what, const char **out)
{
    ERR_clear_error();
    BIO *in = BIO_new_mem_buf(pem, (int)len);
    X509 *x = in ? PEM_read_bio_X509(in, NULL, NULL, TLS_NO_PASSPHRASE) : NULL;
    BIO_free(in);
    ERR_clear_error();
    if (!x)
        return LINKS_PARSE;
    int ok = begin() && put(x, what);
    X509_free(x);
    return ok ? result(out) : -1;
}

/* --- making ----------------------------------------------------------------------------------- */

static int add_extension(X509 *x, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    int ok = e && X509_add_ext(x, e, -1);
    X509_EXTENSION_free(e);
    return ok;
}

/* "DNS:localhost,IP:127.0.0.1" of the lines. Commas would begin another one. */
static int add_names(X509 *x, const char *names)
{
    address a;
    char name[256];
    BIO *list = BIO_new(BIO_s_mem());
    int ok = list != NULL;
    for (const char *at = names; ok && *at;) {
        size_t n = strcspn(at, "\n");
        ok = n > 0 && n < sizeof(name) && !memchr(at, ',', n);
        if (!ok)
            break;
        memcpy(name, at, n);
        name[n] = '\0';
        BIO_printf(list, "%s%s:%s", at == names ? "" : ",",
                   address_parse(&a, name, 0) == 0 ? "IP" : "DNS", name);
        at += n + (at[n] == '\n');
    }
    BIO_write(list, "", 1);
    char *text;
    BIO_get_mem_data(list, &text);
    ok = ok && add_extension(x, NID_subject_alt_name, text);
    BIO_free(list);
    return ok;
}

static int set_subject(X509 *x, const char *names)
{
    X509_NAME *subject = X509_get_subject_name(x);
    size_t n = strcspn(names, "\n");
    /* RFC 5280, A.1: a common name has 64 characters at most. */
    return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)names,
                                      n < 64 ? (int)n : 64, -1, 0) &&
           X509_set_issuer_name(x, subject);
}

static int set_serial(X509 *x)
{
    unsigned char bytes[8];
    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return 0;
    uint64_t serial = 0;
    for (size_t i = 0; i < sizeof(bytes); i++)
        serial = serial << 8 | bytes[i];
    return ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial >> 1);
}

static int fill(X509 *x, EVP_PKEY *key, const char *names, int days)
{
    enum { VERSION_3 = 2, AN_HOUR = 3600, A_DAY = 86400 };
    return X509_set_version(x, VERSION_3) && set_serial(x) &&
           X509_gmtime_adj(X509_getm_notBefore(x), -AN_HOUR) &&
           X509_gmtime_adj(X509_getm_notAfter(x), (long)days * A_DAY) && X509_set_pubkey(x, key) &&
           set_subject(x, names) && add_names(x, names) &&
           add_extension(x, NID_basic_constraints, "critical,CA:TRUE") &&
           add_extension(x, NID_ext_key_usage, "serverAuth,clientAuth") &&
           X509_sign(x, key, EVP_sha256());
}

int links_cert_make(const char *names, int days, const char **out)
{
    ERR_clear_error();
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    int ok = key && x && fill(x, key, names, days) && begin() &&
             PEM_write_bio_PKCS8PrivateKey(memory, key, NULL, NULL, 0, NULL, NULL) &&
             PEM_write_bio_X509(memory, x);
    X509_free(x);
    EVP_PKEY_free(key);
    return ok ? result(out) : tls_problem("names");
}
