-- The C side of TLS, as src/modules/tls/tls.h declares it.
local ffi = require "ffi"
local tcp = require "links.tcp.ffi"

ffi.cdef [[
typedef struct links_tls_options {
    int server;
    int min_version, max_version;
    const char *ciphers, *suites, *curves;
    const char *alpn;
    size_t alpn_len;
    int client_cert;
    int insecure, check_host;
    int verify_depth;
    int tickets;
    int handshake_timeout;
    int ktls;
    int asks;
} links_tls_options;
typedef struct links_tls_context {
    double handshakes, resumed, failed;
} links_tls_context;
typedef struct links_tls links_tls;
const char *links_tls_problem(void);
int links_tls_context_new(links_tls_context **out, const links_tls_options *options);
void links_tls_context_free(links_tls_context *context);
int links_tls_use(links_tls_context *context, const char *cert, size_t cert_len,
                            const char *key, size_t key_len, const char *passphrase);
int links_tls_trust(links_tls_context *context, const char *pem, size_t len);
int links_tls_trust_system(links_tls_context *context);
int links_tls_revoke(links_tls_context *context, const char *pem, size_t len);
int links_tls_name(links_tls_context *context, const char *name, size_t len,
                             links_tls_context *with);
void links_tls_replace(links_tls_context *context, links_tls_context *with);
void links_tls_secret(links_tls_context *context, const char *secret);
double links_tls_asked(links_tls_context *context, const char **name, int *len,
                                 int *status);
int links_tls_asker(const links_tls_context *context, double number, const char **out,
                              int *port);
void links_tls_answer(links_tls_context *context, double number, links_tls_context *with,
                                int refuse);
int links_tls_failed(links_tls_context *context, int *code, const char **reason,
                               const char **who);
void links_tls_stop(links_tls_context *context);
int links_tls_start(links_tcp *socket, links_tls_context *context, const char *host,
                              int after_proxy);
int links_tls_handshake(links_tcp *socket);
links_tls *links_tls_of(links_tcp *socket);
const char *links_tls_reason(const links_tls *tls);
int links_tls_text(const links_tls *tls, int what, const char **out);
int links_cert_text(const char *pem, size_t len, int what, const char **out);
int links_cert_make(const char *names, int days, const char **out);
void links_tls_totals(double out[3]);
]]

return {
    C = ffi.C,
    AGAIN = tcp.AGAIN,
    CLOSED = tcp.CLOSED,
    -- Of links_tls_text.
    VERSION = 0,
    CIPHER = 1,
    ALPN = 2,
    SERVER_NAME = 3,
    RESUMED = 4,
    AUTHORIZED = 5,
    PEER = 6,
    CHAIN = 7,
    KERNEL = 8,
    -- Of links_cert_text.
    CERT = {
        subject = 0, issuer = 1, commonName = 2, names = 3, notBefore = 4, notAfter = 5,
        serial = 6, fingerprint256 = 7,
    },
}
