/*
 * Another protocol on the same connection (RFC 9110, 7.8): the request is answered with 101, and
 * the connection has a new owner: a socket of Lua's, or whoever calls http_upgrade_check and
 * http_conn_move.
 */
#include "upgrade.h"

#include <string.h>

#include "modules/net/tcp_socket.h"
#include "server.h"

bool http_list_has(const char *value, size_t len, const char *token, size_t token_len)
{
    const char *at = value, *end = value + len;
    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma ? comma : end, *last = stop;
        while (at < last && http_is_blank(*at))
            at++;
        while (last > at && http_is_blank(last[-1]))
            last--;
        if (http_equals(at, (size_t)(last - at), token, token_len))
            return true;
        at = stop + 1;
    }
    return false;
}

static bool field_has(const http_request *r, const char *name, const char *token, size_t len)
{
    size_t name_len = strlen(name);
    for (int i = -1; (i = links_http_find(&r->view, name, name_len, i)) >= 0;) {
        int n;
        const char *value = links_http_field_value(&r->view, i, &n);
        if (http_list_has(value, (size_t)n, token, len))
            return true;
    }
    return false;
}

/* RFC 9110, 15.5.22: a 426 names the protocol. */
static int demand(http_request *r, const char *proto, size_t len)
{
    (void)links_http_set(&r->view, LINKS_HTTP_SET, "Upgrade", 7, proto, len);
    r->res.upgrade = true;
    return LINKS_HTTP_UPGRADE_REQUIRED;
}

int links_http_can_upgrade(links_http_req *lr, const char *proto, size_t len)
{
    http_request *r = (http_request *)lr;
    if (!http_conn_is_alive(r->conn))
        return LINKS_CLOSED;
    if (r->res.started)
        return LINKS_HTTP_HEADERS_SENT;
    /* A server must ignore it in HTTP/1.0. */
    if (!lr->minor || !field_has(r, "connection", "upgrade", 7) ||
        !field_has(r, "upgrade", proto, len))
        return demand(r, proto, len);
    if (lr->has_body)
        return LINKS_HTTP_BAD_REQUEST;
    return r->conn->server->stopped ? LINKS_SHUTTING_DOWN : 0;
}

int links_http_upgrade(links_http_req *lr, const char *proto, size_t len, links_tcp **socket)
{
    http_request *r = (http_request *)lr;
    int rc = links_http_can_upgrade(lr, proto, len);
    if (rc == 0)
        rc = links_http_set(lr, LINKS_HTTP_SET, "Upgrade", 7, proto, len);
    if (rc < 0)
        return rc;
    http_write_switch(r);
    tcp *s = tcp_new_moved(r->conn->server->net, true);
    s->peer = r->conn->peer;
    http_conn_move(r, &s->stream, &tcp_stream_ops, &s->in, s->guest);
    s->view.bytes_read = tcp_have(s);
    *socket = &s->view;
    return 0;
}

const char *links_http_head(const links_http_req *lr, int *len)
{
    const http_request *r = (const http_request *)lr;
    *len = (int)r->head_len;
    return http_request_base(r);
}
