/*
 * The inside of a TLS context: an SSL_CTX that can be replaced while connections use it, the names
 * it serves with other contexts, and the keys of its session tickets.
 */
#ifndef LINKS_MODULES_TLS_CONTEXT_H
#define LINKS_MODULES_TLS_CONTEXT_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "lua/sched.h"
#include "modules/net/address.h"
#include "modules/net/stream.h"
#include "modules/tls/tls.h"

enum {
    TLS_SECRET = 32,
    TLS_TICKET_ROTATION_S = 43200, /* a ticket is good for one to two of these */
    TLS_ALPN_MAX = 255,
    TLS_NAMES_MAX = 65536, /* of one context */
    TLS_SESSIONS = 64,     /* kept by one context of clients */
    TLS_REASON_MAX = 160,
};

typedef struct tls_context tls_context;

typedef struct tls_ticket_key {
    int64_t epoch; /* 0: not made yet */
    unsigned char name[16], cipher[32], mac[32];
} tls_ticket_key;

typedef struct tls_name {
    char *name;
    tls_context *context;
} tls_name;

typedef struct tls_session {
    char *host; /* NULL: none */
    SSL_SESSION *session;
} tls_session;

struct tls_context {
    links_tls_context view; /* first: Lua's pointer is ours */
    int refs;
    SSL_CTX *ssl;
    bool server, check_host, insecure, asks, ktls, stopped;
    int handshake_timeout;
    char *curves; /* as the options name them; NULL: the defaults */
    unsigned char alpn[TLS_ALPN_MAX];
    size_t alpn_len;
    unsigned char id[32]; /* of what both sides show and trust: sessions are for no other */
    tls_name *names;      /* sorted */
    int nnames;
    list asked;   /* connections that wait for a name to be looked up */
    list waiting; /* the same, taken by Lua */
    waitq askers;
    struct {
        waitq teller;
        int count, code; /* since somebody was told; of the last one */
        char reason[TLS_REASON_MAX], who[ADDRESS_TEXT_MAX];
        int64_t next_ms; /* when somebody may be told again */
    } failures;
    unsigned char secret[TLS_SECRET];
    tls_ticket_key tickets[3];
    tls_session sessions[TLS_SESSIONS];
    unsigned next_session;
};

static inline tls_context *tls_context_of(links_tls_context *c) { return (tls_context *)c; }

tls_context *tls_context_ref(tls_context *c);
void tls_context_unref(tls_context *c);

/* The context that serves a name, in small letters: another one, itself where it knows none that
 * fits. */
tls_context *tls_context_for(tls_context *c, const char *name, size_t len);

/* The connection of that number that waits for an answer; NULL: it has left. */
struct tls_asking *tls_asking_waiting(const tls_context *c, double number);

/* Makes the keys of a context's tickets its own (tickets.c). */
void tls_tickets_use(tls_context *c, SSL_CTX *ssl);

/* A handshake over `s` has failed (failures.c). `reason` may be NULL. */
void tls_failures_note(tls_context *c, int code, const char *reason, const stream *s);

/* Takes up the last session with a host, if there is one; keeps one, which is taken over; drops all
 * (sessions.c). */
void tls_sessions_use(tls_context *c, SSL *ssl, const char *host);
void tls_sessions_keep(tls_context *c, const char *host, SSL_SESSION *session);
void tls_sessions_drop(tls_context *c);

/* Whom a client expects at the other end; NULL: it does not say. */
const char *tls_host_of_ssl(const SSL *ssl);

/* The context of a connection, for callbacks. */
tls_context *tls_context_of_ssl(const SSL *ssl);

/* ... and the one that was chosen for the name that the client asked for. */
tls_context *tls_context_chosen(const SSL *ssl);

/* For libcrypto's readers of PEM, which else would ask for a passphrase on the terminal. */
#define TLS_NO_PASSPHRASE ((void *)(uintptr_t) "")

/* Notes what is wrong; always LINKS_TLS_CONFIG. `what` NULL: as libssl has it. */
int tls_problem(const char *what);

#endif
