/*
 * Sessions of clients: the last one with each host, to be taken up again by the next connection of
 * the same context. What was verified then is not verified again, so none goes to another host, or
 * to a context that trusts others.
 */
#include <stdlib.h>
#include <string.h>

#include "modules/tls/context.h"

static void drop(tls_session *s)
{
    SSL_SESSION_free(s->session);
    free(s->host);
    *s = (tls_session){0};
}

void tls_sessions_drop(tls_context *c)
{
    for (int i = 0; i < TLS_SESSIONS; i++)
        drop(&c->sessions[i]);
}

static tls_session *find(tls_context *c, const char *host)
{
    for (int i = 0; i < TLS_SESSIONS; i++)
        if (c->sessions[i].host && !strcmp(c->sessions[i].host, host))
            return &c->sessions[i];
    return NULL;
}

/* A ticket of TLS 1.3 is good for one connection, which brings the next (RFC 8446, C.4). */
void tls_sessions_use(tls_context *c, SSL *ssl, const char *host)
{
    tls_session *s = find(c, host);
    if (!s)
        return;
    bool resumable = SSL_SESSION_is_resumable(s->session);
    if (resumable)
        (void)SSL_set_session(ssl, s->session);
    if (!resumable || SSL_SESSION_get_protocol_version(s->session) == TLS1_3_VERSION)
        drop(s);
}

void tls_sessions_keep(tls_context *c, const char *host, SSL_SESSION *session)
{
    tls_session *s = find(c, host);
    if (!s) {
        s = &c->sessions[c->next_session++ % TLS_SESSIONS];
        drop(s);
        s->host = strdup(host);
    }
    SSL_SESSION_free(s->session);
    s->session = session;
}
