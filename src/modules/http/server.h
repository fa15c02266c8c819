/*
 * The server: its listener, its connections, the queue of requests whose heads are complete, and
 * the worker coroutines that wait for one. Lua sees it through http.h.
 */
#ifndef LINKS_MODULES_HTTP_SERVER_H
#define LINKS_MODULES_HTTP_SERVER_H

#include "conn.h"
#include "modules/net/listener.h"
#include "modules/net/network.h"
#include "modules/net/unix.h"
#include "modules/tls/context.h"

enum {
    HTTP_TURN_BUDGET = 1024,  /* requests handed out between two looks at the system's events */
    HTTP_TURN_BUDGET_MS = 5,  /* and the time for them, looked at every few requests */
    HTTP_IDLE_WORKERS = 64,   /* workers that stay when there is nothing to do */
    HTTP_SPAWN_MAX = 32,      /* workers asked for at once */
    HTTP_FREE_REQUESTS = 256, /* kept for reuse */
    HTTP_COMMON_MAX = 256,    /* bytes of the fields that every answer has */
};

/* One of the places that a server listens at; in listen.c. */
typedef struct http_listener {
    listener listener;
    http_server *server;
    list link; /* in server->listeners */
    unix_file file;
} http_listener;

/* A connection that waits to be let in; in listen.c. */
typedef struct http_visitor {
    links_http_visitor view; /* first: Lua's pointer is ours */
    list link;               /* in server->visitors, then in server->asked */
    address peer;
    int fd; /* -1: the server has been stopped */
} http_visitor;

struct http_server {
    links_http_server view; /* first: Lua's pointer is ours */
    net *net;
    list listeners;
    net_hook hook;
    ev_release release;
    http_limits limits;
    links_http_options options;
    char *server_header;
    tls_context *tls; /* NULL: plain */
    int plain;        /* what becomes of clients that do not speak TLS: enum in http.h */
    int tick_ms; /* how often a connection's timer looks: no longer than the shortest timeout */

    list conns;
    list guests;   /* connections that were upgraded to another protocol */
    list queue;    /* requests to hand out */
    list later;    /* of connections that have had their share of this turn */
    list left;     /* requests whose handlers are to be cancelled */
    list visitors; /* connections that wait for somebody to look at them */
    list asked;    /* those that are being looked at */
    waitq idle;    /* workers */
    waitq door;    /* who looks at visitors */
    waitq drained;
    int workers, busy;
    uint32_t turn;
    int taken; /* in this turn */
    int64_t turn_ms;
    int grace_ms; /* how long connections without a request may stay, once it has stopped */
    bool stopped, freed, referenced, keeps_door;

    struct links_http_access *access; /* NULL: requests are not logged */

    http_request *free_requests;
    int nfree;
    uint32_t *generations; /* by request id: counted up when a request is over */
    uint32_t *free_ids;
    uint32_t nids, nfree_ids, ids_size;

    network *trusted; /* proxies that are believed */
    int ntrusted;
    bool trusts_unix, by_forwarded; /* ... by the field Forwarded, not by X-Forwarded-For */

    int64_t common_s; /* the second that `common` was made for */
    int common_len;
    char common[HTTP_COMMON_MAX]; /* "Server: ...\r\nDate: ...\r\n" */
};

/* A request from the pool, with its head ready to be fed. */
http_request *http_request_new(http_conn *c);
void http_request_free(http_request *r);

/* Makes the request's key worthless, where the request itself goes on. */
void http_request_over(http_request *r);

/* Puts a request whose head is complete in the queue and sees to it that somebody comes. */
void http_server_push(http_server *s, http_request *r);

/* Takes the connections that wait in the queues of the system. */
void http_server_empty_queues(http_server *s);

/* Stops listening everywhere; http_server_free_listeners frees what is left of that. */
void http_server_stop_listeners(http_server *s);
void http_server_free_listeners(http_server *s);

/* Closes the connections that wait to be let in; http_server_free_visitors frees them. */
void http_server_drop_visitors(http_server *s);
void http_server_free_visitors(http_server *s);

/* Takes connections from the queues of the system, or leaves them there. */
void http_server_pause(http_server *s, bool pause);

/* It listens: that keeps the process going, until it is stopped and its connections are gone. */
void http_server_ref(http_server *s);

/* A connection has gone. */
void http_server_forget(http_server *s);

/* A connection has become a guest. */
void http_server_welcome(http_server *s, guest *g);

/* The fields of every answer, as of this second. */
const char *http_server_common(http_server *s, int *len);

/* Writes the whole answer to a request that is refused, on a connection that is then closed. */
void http_write_refusal(http_conn *c, int status);

/* Writes the head that changes the protocol (101), with the fields that are staged. */
void http_write_switch(http_request *r);

/* Counts what is handed to the stream of an answer. */
static inline void http_count_sent(http_request *r, size_t len)
{
    r->res.sent += len;
    r->conn->server->view.bytes_out += (double)len;
}

/* The same to one who did not speak TLS: where he is to go with his request. */
void http_write_redirect(http_conn *c, const http_request *r);

/* Gives up what was staged of an answer. */
void http_response_reset(http_request *r);

#endif
