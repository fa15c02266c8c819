/*
 * What few requests have: trailers of either side, informational responses, and tasks that wait for
 * the client to leave. It is made when it is first needed, so that others do not pay for it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "server.h"

http_extra *http_request_extra(http_request *r)
{
    if (!r->extra) {
        r->extra = mem_new(http_extra);
        waitq_init(&r->extra->watchers);
    }
    return r->extra;
}

void http_extra_free(http_request *r)
{
    http_extra *x = r->extra;
    chunk_pool *pool = &r->conn->server->net->chunks;
    if (waitq_wake_all(&x->watchers, LINKS_CLOSED))
        ev_loop_again(r->conn->server->net->loop);
    chunk_put(pool, x->received);
    chunk_put(pool, x->trailers);
    chunk_put(pool, x->informs);
    mem_free(x);
    r->extra = NULL;
}

/* The line that ends them is all that most bodies have; it may come in two pieces. */
void http_extra_receive(http_request *r, const char *data, size_t len)
{
    if (!r->extra || !r->extra->received) {
        if (!len || *data == '\r' || *data == '\n')
            return;
        http_request_extra(r)->received = chunk_get(&r->conn->server->net->chunks);
    }
    /* There are CHUNKED_TRAILER_MAX of them at most. */
    chunk *c = r->extra->received;
    memcpy(c->data + c->end, data, len);
    c->end += (uint32_t)len;
}

const char *links_http_trailers(const links_http_req *lr, int *len)
{
    const http_request *r = (const http_request *)lr;
    *len = 0;
    if (!r->extra || !r->extra->received || !chunked_done(&r->decoder))
        return "";
    *len = (int)r->extra->received->end - 2; /* the empty line */
    return r->extra->received->data;
}

int links_http_watch(links_http_req *lr)
{
    http_request *r = (http_request *)lr;
    if (lr->cut == LINKS_HTTP_LEFT)
        return LINKS_EOF;
    return sched_park(&http_request_extra(r)->watchers, 0, 0, "http client");
}
