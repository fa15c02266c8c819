/*
 * What there is to say of a connection.
 */
#include <openssl/pem.h>
#include <string.h>

#include "modules/net/address.h"
#include "modules/tls/transport.h"

/* Certificates in PEM, which lie here until the next call. */
static BIO *memory;

static int in_pem(X509 *const *list, int count, const char **out)
{
    char *data;
    if (!memory)
        memory = BIO_new(BIO_s_mem());
    (void)BIO_reset(memory);
    for (int i = 0; i < count; i++)
        if (!PEM_write_bio_X509(memory, list[i]))
            return -1;
    long n = BIO_get_mem_data(memory, &data);
    *out = data;
    return n ? (int)n : -1;
}

/* What stood behind the peer's own certificate: of servers libssl has both in one list. */
static int chain_pem(const SSL *ssl, const char **out)
{
    enum { CHAIN_MAX = 100 }; /* as deep as a chain may be verified */
    X509 *list[CHAIN_MAX];
    const STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    int count = 0;
    for (int i = SSL_is_server(ssl) ? 0 : 1; i < sk_X509_num(chain) && count < CHAIN_MAX; i++)
        list[count++] = sk_X509_value(chain, i);
    return in_pem(list, count, out);
}

static int peer_pem(const SSL *ssl, const char **out)
{
    X509 *x = SSL_get0_peer_certificate(ssl);
    return in_pem(&x, x != NULL, out);
}

static int text(const char **out, const char *value)
{
    if (!value)
        return -1;
    *out = value;
    return (int)strlen(value);
}

static bool is_verified(const SSL *ssl)
{
    return SSL_get0_peer_certificate(ssl) && SSL_get_verify_result(ssl) == X509_V_OK &&
           SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE;
}

int links_tls_text(const links_tls *t, int what, const char **out)
{
    const SSL *ssl = tls_ssl_of(t);
    const unsigned char *protocol;
    unsigned len;
    switch (what) {
    case LINKS_TLS_VERSION:
        return text(out, SSL_get_version(ssl));
    case LINKS_TLS_CIPHER:
        return text(out, SSL_get_cipher_name(ssl));
    case LINKS_TLS_ALPN:
        SSL_get0_alpn_selected(ssl, &protocol, &len);
        *out = (const char *)protocol;
        return len ? (int)len : -1;
    case LINKS_TLS_SERVER_NAME:
        return text(out, SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
    case LINKS_TLS_RESUMED:
        return SSL_session_reused(ssl) ? text(out, "1") : -1;
    case LINKS_TLS_AUTHORIZED:
        return is_verified(ssl) ? text(out, "1") : -1;
    case LINKS_TLS_KERNEL:
        return tls_is_kernels(t) ? text(out, "1") : -1;
    case LINKS_TLS_PEER:
        return peer_pem(ssl, out);
    case LINKS_TLS_CHAIN:
        return chain_pem(ssl, out);
    default:
        return -1;
    }
}

int links_tls_asker(const links_tls_context *context, double number, const char **out, int *port)
{
    static char host[ADDRESS_TEXT_MAX];
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    address at = {0};
    const tls_asking *a = tls_asking_waiting((const tls_context *)context, number);
    if (a && getpeername(tls_asking_fd(a), (struct sockaddr *)&ss, &len) == 0)
        address_from_sockaddr(&at, &ss);
    *port = at.port;
    *out = host;
    return address_format(&at, host);
}
