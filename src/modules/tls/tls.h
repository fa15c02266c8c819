/*
 * TLS as Lua calls it (lib/links/tls.lua), on OpenSSL's libssl: contexts, which hold certificates
 * and what is trusted, and the handshake on a socket. Once that is over the socket is read and
 * written as any other: TLS is the transport of its stream (transport.h).
 *
 * Where a function says "parks", it returns LINKS_AGAIN with the coroutine parked: wait, and with
 * status 0 make the same call again.
 */
#ifndef LINKS_MODULES_TLS_TLS_H
#define LINKS_MODULES_TLS_TLS_H

#include <stddef.h>
#include <stdint.h>

#include "modules/net/tcp.h"

enum {
    LINKS_TLS_NO_CLIENT_CERT,
    LINKS_TLS_REQUEST_CLIENT_CERT, /* and take one that is not there */
    LINKS_TLS_REQUIRE_CLIENT_CERT,
};

typedef struct links_tls_options {
    int server;
    int min_version, max_version;          /* 12 or 13 */
    const char *ciphers, *suites, *curves; /* of TLS 1.2, of 1.3; NULL: the defaults */
    const char *alpn;                      /* names with their lengths before them; NULL: none */
    size_t alpn_len;
    int client_cert;          /* of servers */
    int insecure, check_host; /* of clients */
    int verify_depth;
    int tickets;
    int handshake_timeout; /* milliseconds; 0: none */
    int ktls;              /* the kernel may encrypt */
    int asks;              /* names nobody knows are asked for: links_tls_asked */
} links_tls_options;

/* The fields that Lua may read of a context. */
typedef struct links_tls_context {
    double handshakes, resumed, failed; /* counted since the start */
} links_tls_context;

/* A connection's TLS. */
typedef struct links_tls links_tls;

/* --- contexts (context.c) --------------------------------------------------------------------- */

/* What was wrong with the last call here that has failed with LINKS_TLS_CONFIG. */
LINKS_API const char *links_tls_problem(void);

/* 0 and the context; LINKS_TLS_CONFIG for ciphers or curves that libssl does not know. */
LINKS_API int links_tls_context_new(links_tls_context **out, const links_tls_options *options);

/* Lets go of it; connections that use it go on. The finalizer of the handle. */
LINKS_API void links_tls_context_free(links_tls_context *context);

/* Uses a certificate with the chain behind it, and its private key: in PEM. One of each type (RSA,
 * EC, ...). 0; LINKS_TLS_CONFIG: unreadable, or not a pair. */
LINKS_API int links_tls_use(links_tls_context *context, const char *cert, size_t cert_len,
                            const char *key, size_t key_len, const char *passphrase);

/* Trusts certificates in PEM, or those that the system trusts. 0; LINKS_TLS_CONFIG. */
LINKS_API int links_tls_trust(links_tls_context *context, const char *pem, size_t len);
LINKS_API int links_tls_trust_system(links_tls_context *context);

/* Refuses the certificates of these lists, in PEM; every issuer must have one then. */
LINKS_API int links_tls_revoke(links_tls_context *context, const char *pem, size_t len);

/* Serves a name, such as "www.example.com" or "*.example.com", with another context. */
LINKS_API int links_tls_name(links_tls_context *context, const char *name, size_t len,
                             links_tls_context *with);

/* From now on the context is what the other one is, which is used up by that. */
LINKS_API void links_tls_replace(links_tls_context *context, links_tls_context *with);

/* The secret that session tickets are made with, 32 bytes: processes that have the same take each
 * other's. */
LINKS_API void links_tls_secret(links_tls_context *context, const char *secret);

/* A client has asked for a name that the context does not know: the number of his connection, and
 * the name; 0 where status is LINKS_AGAIN (parked) or LINKS_CLOSED. */
LINKS_API double links_tls_asked(links_tls_context *context, const char **name, int *len,
                                 int *status);

/* Who it is that asks: the length of his numeric address, at *out until the next call, and his
 * port; 0 for one at a Unix socket, and one who has left. */
LINKS_API int links_tls_asker(const links_tls_context *context, double number, const char **out,
                              int *port);

/* The answer: another context; NULL: the context itself; with `refuse` the connection ends. */
LINKS_API void links_tls_answer(links_tls_context *context, double number, links_tls_context *with,
                                int refuse);

/* How many clients have failed in the handshake since the last call, those not counted who left or
 * said nothing; and of the last one why, in words too ("": none), and its numeric address. Parks
 * until there is one, and until a minute has gone by since it has answered last; LINKS_CLOSED.
 * For one task. */
LINKS_API int links_tls_failed(links_tls_context *context, int *code, const char **reason,
                               const char **who);

/* Ends links_tls_asked and links_tls_failed. */
LINKS_API void links_tls_stop(links_tls_context *context);

/* --- connections (transport.c) ---------------------------------------------------------------- */

/* Begins TLS on a socket, as the side that the context is of. `host` is the name, or the numeric
 * address, that the certificate of a server must have and that it is told; NULL: none. Parks while
 * earlier output is on its way. 0; LINKS_PROTOCOL where bytes have come already, unless
 * `after_proxy`; -EBUSY while
 * somebody reads or writes; -EALREADY, LINKS_CLOSED. */
LINKS_API int links_tls_start(links_tcp *socket, links_tls_context *context, const char *host,
                              int after_proxy);

/* Parks until the handshake is over. 0, or why it has failed. */
LINKS_API int links_tls_handshake(links_tcp *socket);

/* The TLS of a socket, or NULL. */
LINKS_API links_tls *links_tls_of(links_tcp *socket);

/* What went wrong, in words; "" where nothing did. */
LINKS_API const char *links_tls_reason(const links_tls *tls);

enum {
    LINKS_TLS_VERSION,
    LINKS_TLS_CIPHER,
    LINKS_TLS_ALPN,
    LINKS_TLS_SERVER_NAME,
    LINKS_TLS_RESUMED,    /* "1" or nothing */
    LINKS_TLS_AUTHORIZED, /* "1" where the peer's certificate was verified */
    LINKS_TLS_PEER,       /* the certificate in PEM */
    LINKS_TLS_CHAIN,      /* those that came behind it */
    LINKS_TLS_KERNEL,     /* "1" where the kernel encrypts what is written */
};

/* One of these of a connection as text: its length, at *out until the next call; -1: none. */
LINKS_API int links_tls_text(const links_tls *tls, int what, const char **out);

/* --- certificates (cert.c) -------------------------------------------------------------------- */

enum {
    LINKS_CERT_SUBJECT, /* as RFC 2253 writes them */
    LINKS_CERT_ISSUER,
    LINKS_CERT_COMMON_NAME,
    LINKS_CERT_NAMES, /* "DNS:example.com", "IP:127.0.0.1", ...: a line each */
    LINKS_CERT_NOT_BEFORE,
    LINKS_CERT_NOT_AFTER,
    LINKS_CERT_SERIAL,
    LINKS_CERT_FINGERPRINT, /* SHA-256 */
};

/* One of these of the first certificate in PEM: its length, at *out until the next call; -1: none;
 * LINKS_PARSE for what is no certificate. */
LINKS_API int links_cert_text(const char *pem, size_t len, int what, const char **out);

/* Makes a key (EC, P-256) and a certificate that it has signed itself, for these names, a line
 * each, for so many days: the length of both in PEM, key first, at *out until the next call. */
LINKS_API int links_cert_make(const char *names, int days, const char **out);

/* Handshakes of this process: done, those of them that took up a session again, failed. */
LINKS_API void links_tls_totals(double out[3]);

#endif
