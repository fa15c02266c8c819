#include "modules/tls/context.h"

#include <assert.h>
#include <ctype.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "modules/tls/transport.h"

/* Mozilla's "intermediate" of TLS 1.2; those of 1.3 are good as they are. */
static const char ciphers[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

enum { PROBLEM_MAX = 256, SESSION_S = 86400 };

static char problem[PROBLEM_MAX];

const char *links_tls_problem(void) { return problem; }

int tls_problem(const char *what)
{
    unsigned long e = ERR_peek_error();
    const char *reason = e ? ERR_reason_error_string(e) : NULL;
    snprintf(problem, sizeof(problem), "%s%s%s", what ? what : "", what && reason ? ": " : "",
             reason ? reason
             : what ? ""
                    : "libssl refused it");
    ERR_clear_error();
    return LINKS_TLS_CONFIG;
}

/* --- the keys of sessions, for who looks into captured packets -------------------------------- */

static void log_keys(const SSL *ssl, const char *line)
{
    static int fd = -1;
    (void)ssl;
    if (fd < 0)
        fd = open(getenv("SSLKEYLOGFILE"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    char text[512];
    int n = snprintf(text, sizeof(text), "%s\n", line);
    if (n > 0 && n < (int)sizeof(text) && write(fd, text, (size_t)n) < 0)
        return; /* a disk that is full is no reason to end a connection */
}

/* --- choosing: protocols, names --------------------------------------------------------------- */

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg)
{
    (void)arg;
    const tls_context *c = tls_context_chosen(ssl);
    if (!c->alpn_len)
        return SSL_TLSEXT_ERR_NOACK;
    int rc = SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, c->alpn,
                                   (unsigned)c->alpn_len, in, in_len);
    return rc == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* The name in the client's first message (RFC 6066, 3): its length, 0 where there is none. */
static size_t name_of_hello(SSL *ssl, char *name, size_t size)
{
    const unsigned char *p;
    size_t len;
    if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &p, &len) || len < 5)
        return 0;
    size_t list = (size_t)p[0] << 8 | p[1], n = (size_t)p[3] << 8 | p[4];
    if (list != len - 2 || p[2] != TLSEXT_NAMETYPE_host_name || n > len - 5 || n >= size || !n)
        return 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char ch = p[5 + i];
        if (ch <= ' ' || ch > '~')
            return 0;
        name[i] = (char)tolower(ch);
    }
    if (n > 1 && name[n - 1] == '.')
        n--;
    name[n] = '\0';
    return n;
}

/* What a connection has copied of the context that it began with does not change by itself. */
static void use(SSL *ssl, const tls_context *c)
{
    SSL_set_SSL_CTX(ssl, c->ssl);
    (void)SSL_set_min_proto_version(ssl, SSL_CTX_get_min_proto_version(c->ssl));
    (void)SSL_set_max_proto_version(ssl, SSL_CTX_get_max_proto_version(c->ssl));
    if (c->curves)
        (void)SSL_set1_groups_list(ssl, c->curves);
    SSL_clear_options(ssl, SSL_OP_NO_TICKET);
    SSL_set_options(ssl, SSL_CTX_get_options(c->ssl) & SSL_OP_NO_TICKET);
    SSL_set_verify(ssl, SSL_CTX_get_verify_mode(c->ssl), SSL_CTX_get_verify_callback(c->ssl));
    SSL_set_verify_depth(ssl, SSL_CTX_get_verify_depth(c->ssl));
    (void)SSL_set_session_id_context(ssl, c->id, sizeof(c->id));
}

/* Before anything is decided: so that a session of one name is not taken up again under another,
 * which may ask more of its clients. */
static int on_hello(SSL *ssl, int *alert, void *arg)
{
    char name[256];
    (void)arg;
    tls_context *c = tls_context_of_ssl(ssl);
    tls_asking *a = tls_asking_of(ssl);
    if (a->state == ASKING_REFUSED) {
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        return SSL_CLIENT_HELLO_ERROR;
    }
    if (a->state == ASKING_ANSWERED) {
        if (a->with)
            use(ssl, a->with);
        return SSL_CLIENT_HELLO_SUCCESS;
    }
    if (a->state == ASKING_ASKED)
        return SSL_CLIENT_HELLO_RETRY;
    size_t len = c->nnames || c->asks ? name_of_hello(ssl, name, sizeof(name)) : 0;
    if (!len)
        return SSL_CLIENT_HELLO_SUCCESS;
    tls_context *with = tls_context_for(c, name, len);
    if (with != c) {
        a->with = tls_context_ref(with);
        a->state = ASKING_ANSWERED;
        use(ssl, with);
        return SSL_CLIENT_HELLO_SUCCESS;
    }
    if (!c->asks || c->stopped)
        return SSL_CLIENT_HELLO_SUCCESS;
    static double last;
    a->state = ASKING_ASKED;
    a->number = ++last;
    a->name = strdup(name);
    list_push_back(&c->asked, &a->link);
    waitq_wake_one(&c->askers, 0);
    return SSL_CLIENT_HELLO_RETRY;
}

static int compare(const void *key, const void *entry)
{
    return strcmp(key, ((const tls_name *)entry)->name);
}

static tls_context *find_name(const tls_context *c, const char *name)
{
    const tls_name *n =
        c->nnames ? bsearch(name, c->names, (size_t)c->nnames, sizeof(*n), compare) : NULL;
    return n ? n->context : NULL;
}

tls_context *tls_context_for(tls_context *c, const char *name, size_t len)
{
    char text[256];
    if (len >= sizeof(text) - 1)
        return c;
    text[0] = '*';
    memcpy(text + 1, name, len);
    text[1 + len] = '\0';
    tls_context *found = find_name(c, text + 1);
    char *dot = strchr(text + 1, '.');
    if (!found && dot) {
        dot[-1] = '*'; /* of one label (RFC 6125, 6.4.3) */
        found = find_name(c, dot - 1);
    }
    return found ? found : c;
}

int links_tls_name(links_tls_context *context, const char *name, size_t len,
                   links_tls_context *with)
{
    tls_context *c = tls_context_of(context);
    if (!len || len > 253 || memchr(name, '\0', len) || c->nnames == TLS_NAMES_MAX)
        return tls_problem("a name that no certificate can have, or too many of them");
    char *text = mem_alloc(len + 1);
    for (size_t i = 0; i < len; i++)
        text[i] = (char)tolower((unsigned char)name[i]);
    text[len] = '\0';
    int at = 0;
    while (at < c->nnames && strcmp(c->names[at].name, text) < 0)
        at++;
    if (at < c->nnames && !strcmp(c->names[at].name, text)) {
        mem_free(text);
        return tls_problem("a name that stands there twice");
    }
    c->names = mem_realloc(c->names, (size_t)(c->nnames + 1) * sizeof(tls_name));
    memmove(c->names + at + 1, c->names + at, (size_t)(c->nnames - at) * sizeof(tls_name));
    c->names[at] = (tls_name){text, tls_context_ref(tls_context_of(with))};
    c->nnames++;
    return 0;
}

/* --- asking Lua for a name -------------------------------------------------------------------- */

double links_tls_asked(links_tls_context *context, const char **name, int *len, int *status)
{
    tls_context *c = tls_context_of(context);
    list *node = list_pop_front(&c->asked);
    if (!node) {
        *status = c->stopped ? LINKS_CLOSED : sched_park(&c->askers, 0, 0, "tls name");
        return 0;
    }
    tls_asking *a = CONTAINER_OF(node, tls_asking, link);
    list_push_back(&c->waiting, &a->link);
    *name = a->name;
    *len = (int)strlen(a->name);
    return a->number;
}

tls_asking *tls_asking_waiting(const tls_context *c, double number)
{
    for (list *l = c->waiting.next; l != &c->waiting; l = l->next)
        if (CONTAINER_OF(l, tls_asking, link)->number == number)
            return CONTAINER_OF(l, tls_asking, link);
    return NULL;
}

void links_tls_answer(links_tls_context *context, double number, links_tls_context *with,
                      int refuse)
{
    tls_asking *a = tls_asking_waiting(tls_context_of(context), number);
    if (!a)
        return;
    list_remove(&a->link);
    a->state = refuse ? ASKING_REFUSED : ASKING_ANSWERED;
    a->with = with ? tls_context_ref(tls_context_of(with)) : NULL;
    tls_go_on(a);
}

void links_tls_stop(links_tls_context *context)
{
    tls_context *c = tls_context_of(context);
    c->stopped = true;
    waitq_wake_all(&c->askers, 0);
    waitq_wake_all(&c->failures.teller, 0);
    list_move_all(&c->asked, &c->waiting);
    for (list *l; (l = list_pop_front(&c->asked));) {
        tls_asking *a = CONTAINER_OF(l, tls_asking, link);
        a->state = ASKING_ANSWERED;
        tls_go_on(a);
    }
}

/* --- life ------------------------------------------------------------------------------------- */

static int set_versions(SSL_CTX *ssl, const links_tls_options *o)
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
    return SSL_CTX_set_min_proto_version(ssl, versions[o->min_version - 12]) &&
           SSL_CTX_set_max_proto_version(ssl, versions[o->max_version - 12]);
}

static void set_server(tls_context *c, const links_tls_options *o)
{
    int mode = SSL_VERIFY_NONE;
    if (o->client_cert >= LINKS_TLS_REQUEST_CLIENT_CERT)
        mode = SSL_VERIFY_PEER;
    if (o->client_cert == LINKS_TLS_REQUIRE_CLIENT_CERT)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(c->ssl, mode, NULL);
    SSL_CTX_set_alpn_select_cb(c->ssl, choose_protocol, NULL);
    SSL_CTX_set_client_hello_cb(c->ssl, on_hello, NULL);
    SSL_CTX_set_timeout(c->ssl, SESSION_S);
    if (o->tickets) {
        SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_num_tickets(c->ssl, 1);
        tls_tickets_use(c, c->ssl);
    } else {
        SSL_CTX_set_options(c->ssl, SSL_OP_NO_TICKET);
        SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_SERVER);
    }
    c->id[0] = (unsigned char)mode;
    (void)SSL_CTX_set_session_id_context(c->ssl, c->id, sizeof(c->id));
}

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    const char *host = tls_host_of_ssl(ssl);
    if (!host)
        return 0;
    tls_sessions_keep(tls_context_of_ssl(ssl), host, session);
    return 1;
}

static void set_client(tls_context *c, const links_tls_options *o)
{
    SSL_CTX_set_verify(c->ssl, o->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c->ssl, on_session);
    if (o->alpn_len)
        (void)SSL_CTX_set_alpn_protos(c->ssl, c->alpn, (unsigned)c->alpn_len);
}

static int configure(tls_context *c, const links_tls_options *o)
{
    SSL_CTX *ssl = c->ssl;
    if (!set_versions(ssl, o))
        return tls_problem("minVersion, maxVersion");
    if (!SSL_CTX_set_cipher_list(ssl, o->ciphers ? o->ciphers : ciphers))
        return tls_problem("ciphers");
    if (o->suites && !SSL_CTX_set_ciphersuites(ssl, o->suites))
        return tls_problem("ciphers of TLS 1.3");
    if (o->curves && !SSL_CTX_set1_groups_list(ssl, o->curves))
        return tls_problem("curves");
    c->curves = o->curves ? strdup(o->curves) : NULL;
    if (o->alpn_len > TLS_ALPN_MAX)
        return tls_problem("alpn is too long");
    memcpy(c->alpn, o->alpn ? o->alpn : "", o->alpn_len);
    c->alpn_len = o->alpn_len;
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_read_ahead(ssl, 1);
    SSL_CTX_set_verify_depth(ssl, o->verify_depth);
    if (getenv("SSLKEYLOGFILE"))
        SSL_CTX_set_keylog_callback(ssl, log_keys);
    if (o->server)
        set_server(c, o);
    else
        set_client(c, o);
    return 0;
}

int links_tls_context_new(links_tls_context **out, const links_tls_options *o)
{
    tls_context *c = mem_new(tls_context);
    c->refs = 1;
    c->server = o->server;
    c->check_host = o->check_host;
    c->insecure = o->insecure;
    c->asks = o->asks;
    c->ktls = o->ktls;
    c->handshake_timeout = o->handshake_timeout;
    list_init(&c->asked);
    list_init(&c->waiting);
    waitq_init(&c->askers);
    waitq_init(&c->failures.teller);
    (void)RAND_bytes(c->secret, sizeof(c->secret));
    ERR_clear_error();
    c->ssl = SSL_CTX_new(o->server ? TLS_server_method() : TLS_client_method());
    int rc = c->ssl ? configure(c, o) : tls_problem(NULL);
    if (rc < 0) {
        tls_context_unref(c);
        return rc;
    }
    *out = &c->view;
    return 0;
}

tls_context *tls_context_ref(tls_context *c)
{
    c->refs++;
    return c;
}

static void drop_names(tls_context *c)
{
    for (int i = 0; i < c->nnames; i++) {
        mem_free(c->names[i].name);
        tls_context_unref(c->names[i].context);
    }
    mem_free(c->names);
    c->names = NULL;
    c->nnames = 0;
}

void tls_context_unref(tls_context *c)
{
    if (!c || --c->refs > 0)
        return;
    drop_names(c);
    tls_sessions_drop(c);
    SSL_CTX_free(c->ssl);
    free(c->curves);
    OPENSSL_cleanse(c->secret, sizeof(c->secret));
    OPENSSL_cleanse(c->tickets, sizeof(c->tickets));
    mem_free(c);
}

void links_tls_context_free(links_tls_context *context)
{
    links_tls_stop(context);
    tls_context_unref(tls_context_of(context));
}

static void use_secret(tls_context *c, const void *secret)
{
    memcpy(c->secret, secret, TLS_SECRET);
    memset(c->tickets, 0, sizeof(c->tickets));
}

void links_tls_replace(links_tls_context *context, links_tls_context *with)
{
    tls_context *c = tls_context_of(context), *w = tls_context_of(with);
    SSL_CTX *ssl = c->ssl;
    char *curves = c->curves;
    c->ssl = w->ssl;
    w->ssl = ssl;
    c->curves = w->curves;
    w->curves = curves;
    drop_names(c);
    tls_sessions_drop(c);
    c->names = w->names;
    c->nnames = w->nnames;
    w->names = NULL;
    w->nnames = 0;
    memcpy(c->id, w->id, sizeof(c->id));
    memcpy(c->alpn, w->alpn, sizeof(c->alpn));
    c->alpn_len = w->alpn_len;
    c->handshake_timeout = w->handshake_timeout;
    c->ktls = w->ktls;
    c->asks = w->asks;
    use_secret(c, w->secret);
}

void links_tls_secret(links_tls_context *context, const char *secret)
{
    use_secret(tls_context_of(context), secret);
}

/* --- certificates and keys -------------------------------------------------------------------- */

/* A server's id changes with its certificate, which who comes back with a session is not shown
 * again, and with what it trusts: a session must not outlive the trust in its client. */
static void mix_id(tls_context *c, const void *data, size_t len)
{
    unsigned char mixed[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (!c->server)
        return;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    if (md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) &&
        EVP_DigestUpdate(md, c->id, sizeof(c->id)) && EVP_DigestUpdate(md, data, len) &&
        EVP_DigestFinal_ex(md, mixed, &n))
        memcpy(c->id, mixed, sizeof(c->id));
    EVP_MD_CTX_free(md);
    (void)SSL_CTX_set_session_id_context(c->ssl, c->id, sizeof(c->id));
}

static void mix_certificate(tls_context *c)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (X509_digest(SSL_CTX_get0_certificate(c->ssl), EVP_sha256(), digest, &n))
        mix_id(c, digest, n);
}

static int give_passphrase(char *out, int size, int writing, void *passphrase)
{
    (void)writing;
    size_t len = passphrase ? strlen(passphrase) : 0;
    if (len > (size_t)size)
        return 0;
    if (len)
        memcpy(out, passphrase, len);
    return (int)len;
}

/* Whether the reader of PEM has stopped because there was no more, and not at what it could not
 * read: half a list must not pass for the whole. */
static bool is_at_end(void)
{
    unsigned long e = ERR_peek_last_error();
    return ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;
}

static int use_chain(SSL_CTX *ssl, BIO *in)
{
    X509 *x = PEM_read_bio_X509_AUX(in, NULL, NULL, TLS_NO_PASSPHRASE);
    if (!x)
        return tls_problem("cert");
    int ok = SSL_CTX_use_certificate(ssl, x);
    X509_free(x);
    if (!ok || !SSL_CTX_clear_chain_certs(ssl))
        return tls_problem("cert");
    while ((x = PEM_read_bio_X509(in, NULL, NULL, TLS_NO_PASSPHRASE))) {
        if (!SSL_CTX_add0_chain_cert(ssl, x)) {
            X509_free(x);
            return tls_problem("cert");
        }
    }
    if (!is_at_end())
        return tls_problem("cert: one of the chain");
    ERR_clear_error();
    return 0;
}

static int use_key(SSL_CTX *ssl, BIO *in, const char *passphrase)
{
    EVP_PKEY *key =
        PEM_read_bio_PrivateKey(in, NULL, give_passphrase, (void *)(uintptr_t)passphrase);
    if (!key)
        return tls_problem("key");
    int ok = SSL_CTX_use_PrivateKey(ssl, key);
    EVP_PKEY_free(key);
    if (!ok || !SSL_CTX_check_private_key(ssl))
        return tls_problem("key does not belong to cert");
    return 0;
}

static BIO *memory(const char *data, size_t len) { return BIO_new_mem_buf(data, (int)len); }

int links_tls_use(links_tls_context *context, const char *cert, size_t cert_len, const char *key,
                  size_t key_len, const char *passphrase)
{
    SSL_CTX *ssl = tls_context_of(context)->ssl;
    ERR_clear_error();
    BIO *in = memory(cert, cert_len);
    int rc = use_chain(ssl, in);
    BIO_free(in);
    if (rc < 0)
        return rc;
    in = memory(key, key_len);
    rc = use_key(ssl, in, passphrase);
    BIO_free(in);
    if (rc == 0)
        mix_certificate(tls_context_of(context));
    return rc;
}

/* --- what is trusted -------------------------------------------------------------------------- */

int links_tls_trust(links_tls_context *context, const char *pem, size_t len)
{
    tls_context *c = tls_context_of(context);
    X509_STORE *store = SSL_CTX_get_cert_store(c->ssl);
    int count = 0;
    X509 *x;
    ERR_clear_error();
    BIO *in = memory(pem, len);
    while ((x = PEM_read_bio_X509_AUX(in, NULL, NULL, TLS_NO_PASSPHRASE))) {
        count += X509_STORE_add_cert(store, x);
        if (c->server)
            (void)SSL_CTX_add_client_CA(c->ssl, x);
        X509_free(x);
    }
    BIO_free(in);
    if (!count || !is_at_end())
        return tls_problem("ca");
    ERR_clear_error();
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    mix_id(c, pem, len);
    return 0;
}

/* Where systems keep what they trust. */
static const char *const bundles[] = {
    "/etc/ssl/certs/ca-certificates.crt",                /* Debian, Alpine, Arch */
    "/etc/pki/tls/certs/ca-bundle.crt",                  /* Fedora, RHEL */
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", /* RHEL */
    "/etc/ssl/ca-bundle.pem",                            /* SUSE */
    "/etc/ssl/cert.pem",                                 /* OpenBSD, FreeBSD, macOS, Alpine */
    "/usr/local/etc/ssl/cert.pem",                       /* FreeBSD */
    "/usr/local/share/certs/ca-root-nss.crt",            /* FreeBSD */
    "/etc/openssl/certs/ca-certificates.crt",            /* NetBSD */
    "/opt/homebrew/etc/openssl@3/cert.pem",              /* macOS */
};

static const char *const folders[] = {"/etc/ssl/certs", "/etc/openssl/certs", "/etc/pki/tls/certs"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static X509_STORE *load_system_store(void)
{
    X509_STORE *store = X509_STORE_new();
    const char *file = getenv("SSL_CERT_FILE"), *folder = getenv("SSL_CERT_DIR");
    bool found = false;
    if (file)
        found = X509_STORE_load_file(store, file);
    if (folder)
        found |= X509_STORE_load_path(store, folder);
    if (!file && !folder) {
        for (size_t i = 0; i < COUNT(bundles) && !found; i++)
            found = access(bundles[i], R_OK) == 0 && X509_STORE_load_file(store, bundles[i]);
        for (size_t i = 0; i < COUNT(folders) && !found; i++)
            found = access(folders[i], R_OK) == 0 && X509_STORE_load_path(store, folders[i]);
    }
    if (found)
        return store;
    X509_STORE_free(store);
    return NULL;
}

static X509_STORE *system_store; /* parsing all of it takes some ten milliseconds: once */

static int no_system_store(void)
{
    return tls_problem(
        "this system has no list of trusted certificates; install "
        "ca-certificates, set SSL_CERT_FILE, or give ca");
}

int links_tls_trust_system(links_tls_context *context)
{
    ERR_clear_error();
    if (!system_store)
        system_store = load_system_store();
    if (!system_store)
        return no_system_store();
    X509_STORE_up_ref(system_store);
    SSL_CTX_set_cert_store(tls_context_of(context)->ssl, system_store);
    ERR_clear_error();
    return 0;
}

/* The system's is everybody's: a list of one context is nothing to the others. */
static X509_STORE *store_of_its_own(const tls_context *c)
{
    X509_STORE *store = SSL_CTX_get_cert_store(c->ssl);
    if (store != system_store)
        return store;
    store = load_system_store();
    if (store)
        SSL_CTX_set_cert_store(c->ssl, store);
    return store;
}

int links_tls_revoke(links_tls_context *context, const char *pem, size_t len)
{
    tls_context *c = tls_context_of(context);
    X509_STORE *store = store_of_its_own(c);
    int count = 0;
    X509_CRL *crl;
    if (!store)
        return no_system_store();
    ERR_clear_error();
    BIO *in = memory(pem, len);
    while ((crl = PEM_read_bio_X509_CRL(in, NULL, NULL, TLS_NO_PASSPHRASE))) {
        count += X509_STORE_add_crl(store, crl);
        X509_CRL_free(crl);
    }
    BIO_free(in);
    if (!count || !is_at_end())
        return tls_problem("crl");
    ERR_clear_error();
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    mix_id(c, pem, len);
    return 0;
}
