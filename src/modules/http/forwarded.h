/*
 * Who has sent a request: the other end of its connection, or, where that is a proxy that the
 * server trusts, whom the proxy tells of.
 */
#ifndef LINKS_MODULES_HTTP_FORWARDED_H
#define LINKS_MODULES_HTTP_FORWARDED_H

#include "conn.h"

typedef struct http_slice {
    const char *data; /* NULL: nothing was said */
    size_t len;
} http_slice;

typedef struct http_client {
    address at;              /* port 0: nobody knows it; family 0: a Unix socket */
    http_slice scheme, host; /* as the proxy has written them, which may be nonsense */
} http_client;

/* What there is to say of it; slices are good for as long as the request. */
void http_client_of(const http_request *r, http_client *client);

#endif
