/*
 * Handshakes with clients that have failed, for whom a server has nobody to tell: a task is told of
 * the first one, and then of many at a time, so that strangers cannot fill a log.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "lua/sched.h"
#include "modules/net/address.h"
#include "modules/tls/context.h"

enum { TELL_MS = 60000 };

static bool is_due(const tls_context *c, const ev_loop *loop)
{
    return c->failures.count && ev_now_ms(loop) >= c->failures.next_ms;
}

void tls_failures_note(tls_context *c, int code, const char *reason, const stream *s)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    address at = {0};
    if (getpeername(s->io.fd, (struct sockaddr *)&ss, &len) == 0)
        address_from_sockaddr(&at, &ss);
    c->failures.who[address_format(&at, c->failures.who)] = '\0';
    snprintf(c->failures.reason, sizeof(c->failures.reason), "%s", reason ? reason : "");
    c->failures.code = code;
    c->failures.count++;
    if (is_due(c, s->net->loop))
        waitq_wake_one(&c->failures.teller, 0);
}

int links_tls_failed(links_tls_context *context, int *code, const char **reason, const char **who)
{
    tls_context *c = tls_context_of(context);
    if (c->stopped)
        return LINKS_CLOSED;
    if (!is_due(c, sched_loop()))
        return sched_park(&c->failures.teller, 0, 0, "tls failures");
    int count = c->failures.count;
    c->failures.count = 0;
    c->failures.next_ms = ev_now_ms(sched_loop()) + TELL_MS;
    *code = c->failures.code;
    *reason = c->failures.reason;
    *who = c->failures.who;
    return count;
}
