/*
 * TLS as the transport of a stream. The handshake runs in the callbacks of the socket; when it is
 * over the owner of the stream reads and writes as if there were none.
 *
 * libssl sees no socket but two functions: one reads, the other collects what is to be sent. What
 * it has made goes out in one call, and what the socket does not take is kept in chunks, so libssl
 * never has to wait for a write. A connection that is idle holds no buffer.
 */
#ifndef LINKS_MODULES_TLS_TRANSPORT_H
#define LINKS_MODULES_TLS_TRANSPORT_H

#include "modules/net/stream.h"
#include "modules/tls/context.h"

/* Puts a stream under TLS: nothing may be in its output. `first`, which is taken over, is what has
 * been read of it already; NULL: nothing. */
void tls_attach(stream *s, tls_context *context, const char *host, chunk *first);

/* Begins the handshake; whether it is over, one way or the other. Not needed by servers that wait
 * for the first byte. */
bool tls_begin(stream *s);

/* The TLS of a stream, or NULL. */
struct links_tls *tls_of_stream(const stream *s);

/* A client that speaks plain HTTP where TLS was to begin is let through: the stream is plain then.
 * To be called right after tls_attach. */
void tls_let_plain_through(stream *s);

/* What libssl knows of it. */
const SSL *tls_ssl_of(const struct links_tls *tls);

/* Whether the kernel encrypts what is written. */
bool tls_is_kernels(const struct links_tls *tls);

/* --- for context.c ---------------------------------------------------------------------------- */

typedef struct tls_asking {
    list link; /* of context->asked, or context->waiting */
    double number;
    tls_context *with;
    char *name;
    enum { ASKING_NOT, ASKING_ASKED, ASKING_ANSWERED, ASKING_REFUSED } state;
} tls_asking;

/* The SSL of libssl that a callback got: its connection. */
tls_asking *tls_asking_of(void *ssl);

/* The socket that it is about. */
int tls_asking_fd(const tls_asking *asking);

/* There is an answer: the handshake goes on. */
void tls_go_on(tls_asking *asking);

#endif
