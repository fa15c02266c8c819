/*
 * The HTTP server as Lua calls it (lib/links/http/server.lua). Requests are pulled: a worker
 * coroutine asks for the next one, or parks until there is one. A request is its worker's from
 * there until it has been answered; after that its pointer is worth nothing.
 *
 * Where a function says "parks", it returns LINKS_AGAIN with the coroutine parked: wait, and with
 * status 0 make the same call again.
 */
#ifndef LINKS_MODULES_HTTP_HTTP_H
#define LINKS_MODULES_HTTP_HTTP_H

#include <stddef.h>
#include <stdint.h>

#include "modules/tls/tls.h"

enum {
    LINKS_HTTP_PLAIN_REFUSE,   /* by 400 */
    LINKS_HTTP_PLAIN_REDIRECT, /* by 308, to the same over TLS */
    LINKS_HTTP_PLAIN_SERVE,
};

/* Times in milliseconds, sizes in bytes; 0 for a time or a rate is no limit. */
typedef struct links_http_options {
    int backlog, reuseport, exclusive, nodelay, v6only;
    int max_connections, max_pipelined, max_requests; /* max_requests: of one connection */
    int max_request_line, max_header_size, max_headers;
    int high_water_mark;
    int header_timeout, body_timeout, keep_alive_timeout, write_timeout, handler_timeout;
    int min_body_rate; /* bytes a second */
    double max_body_size;
    int date_header, cancel_on_abort, proxy_protocol;
    const char *server_header; /* NULL: none is sent */
} links_http_options;

/* The fields that Lua may read of a server. */
typedef struct links_http_server {
    int32_t status; /* why links_http_next had none: LINKS_AGAIN, LINKS_HTTP_LEFT, LINKS_HTTP_NEW;
                       else the worker is to end */
    int32_t want;   /* workers that ought to be spawned now */
    int32_t connections; /* upgraded ones included */
    int32_t upgraded;
    int32_t queued;
    int32_t idle, reading, writing;               /* connections, as of links_http_stats */
    double accepted, refused, requests, rejected; /* counted since the start */
    double bytes_in, bytes_out;
    double answers[6]; /* by the first digit of their status; [0]: of none of these */
} links_http_server;

/* Where a server listens, or a connection is. */
typedef struct links_http_place {
    int32_t family; /* 4, 6; 0 for a Unix socket */
    int32_t port;
    int32_t len; /* of the address, or of the path */
    char text[112];
} links_http_place;

/* The fields that Lua may read of a request. */
typedef struct links_http_req {
    const char *url; /* the request target as it was sent, not terminated */
    uint32_t url_len;
    uint32_t fields;       /* how many header fields there are */
    double content_length; /* -1: not known beforehand */
    double key;            /* see links_http_is_live */
    int32_t id;     /* as links_http_meet gave it: of its memory, which others use after it */
    int32_t route;  /* Lua may set it: what it is counted as, see links_http_route */
    uint8_t method; /* see links_http_method */
    uint8_t minor;  /* of HTTP/1.minor */
    uint8_t sent;   /* the head of the answer is on its way */
    uint8_t has_body;
    uint8_t cut; /* its handler is not to go on: LINKS_HTTP_LEFT, LINKS_HTTP_LATE */
} links_http_req;

enum {
    LINKS_HTTP_LEFT = 1, /* the client has left, or was given up */
    LINKS_HTTP_LATE = 2, /* the handler has not begun to answer within handler_timeout */
    LINKS_HTTP_NEW = 3,  /* see links_http_meet */
};

/* A server that does not listen yet, to be freed by links_http_free; NULL for a server_header that
 * is too long. */
LINKS_API links_http_server *links_http_open(const links_http_options *options);

/* Listens on a numeric address, besides where it listens already. Returns 0 or -errno (-EINVAL for
 * what is no address). */
LINKS_API int links_http_listen(links_http_server *server, const char *host, int port);

/* Listens on a Unix socket; the arguments and the errors are those of unix_bind. */
LINKS_API int links_http_listen_unix(links_http_server *server, const char *path, size_t len,
                                     int mode, int unlink_stale);

/* Believes what this address ("10.0.0.1"), network ("10.0.0.0/8") or "unix:" says of the clients it
 * passes on. 0 or -EINVAL. */
LINKS_API int links_http_trust(links_http_server *server, const char *network);

/* They say it by Forwarded (RFC 7239) and by nothing else; without this, by X-Forwarded-For and its
 * kin. */
LINKS_API void links_http_trust_forwarded(links_http_server *server);

/* A connection that waits to be let in, before anything of it is read. */
typedef struct links_http_visitor {
    links_http_place remote, local;
} links_http_visitor;

/* From now on, connections that come wait for links_http_admit. */
LINKS_API void links_http_keep_door(links_http_server *server);

/* The next one that waits, or NULL: server->status says LINKS_AGAIN, with the task parked, or
 * LINKS_CLOSED. Each is to be admitted or not, once. */
LINKS_API links_http_visitor *links_http_visit(links_http_server *server);

/* Lets it in, or closes it; the pointer is worth nothing then. */
LINKS_API void links_http_admit(links_http_server *server, links_http_visitor *visitor, int admit);

/* Connections that come are to speak TLS; `plain` says what becomes of requests in plain HTTP. */
LINKS_API void links_http_set_tls(links_http_server *server, links_tls_context *context, int plain);

/* The id of the next request, or -1; server->status says why: LINKS_AGAIN is parked,
 * LINKS_HTTP_LEFT that there are handlers to be cancelled, LINKS_HTTP_NEW that links_http_meet is
 * to be called first. `answered` is 1 where this worker comes back from a request. */
LINKS_API int links_http_next(links_http_server *server, int answered);

/* The next request, which stays that: its memory has its id from now on. */
LINKS_API links_http_req *links_http_meet(links_http_server *server);

/* The id of a task whose handler is to be cancelled, and why in *cut; 0 where there is none
 * left. */
LINKS_API uint32_t links_http_left(links_http_server *server, int *cut);

/* A worker begins (1) or ends (-1; `busy` where it ends without having come back). */
LINKS_API void links_http_worker(links_http_server *server, int change, int busy);

/* Stops listening and closes what is idle; a connection with a request ends with its answer. With a
 * `grace_ms` what is idle has that long for one more request, which may be on its way already. */
LINKS_API void links_http_stop(links_http_server *server, int grace_ms);

/* Parks until no connection is left, for `timeout_ms` at most; 0 when there is none. */
LINKS_API int links_http_drained(links_http_server *server, double timeout_ms);

/* Closes every connection at once. */
LINKS_API void links_http_abort(links_http_server *server);

/* Stops, aborts and frees. The finalizer of the handle. */
LINKS_API void links_http_free(links_http_server *server);

/* Brings the fields up to date that are not kept so: accepted, refused, idle, reading, writing. */
LINKS_API void links_http_stats(links_http_server *server);

/* The nth place (0: first) that the server listens at. 0, or -1 beyond the last. */
LINKS_API int links_http_address(const links_http_server *server, int nth, links_http_place *place);

/* --- metrics ---------------------------------------------------------------------------------- */

/* Begins to count. `statuses` and `durations`, a histogram of seconds with these bounds, are
 * metrics whose series are made as they are needed, the others are a cell each; all of metrics.h,
 * and there for as long as the process is. */
LINKS_API void links_http_measure(int statuses, int durations, double *under_way, double *received,
                                  double *sent, const double *bounds, int nbounds);

/* A number for a route whose requests are counted with these labels, as they are written out; 0,
 * which is none, where there are 65535. */
LINKS_API int links_http_route(const char *labels, size_t len);

/* --- the request --------------------------------------------------------------------------- */

/* The name of a method by number; NULL beyond the last. */
LINKS_API const char *links_http_method(int method);

/* The path and the query of the target, as sent. *len is -1 for a query that is not there. */
LINKS_API const char *links_http_path(const links_http_req *r, int *len);
LINKS_API const char *links_http_query(const links_http_req *r, int *len);

/* The index of the next field of that name (any case) after `after`, -1 for the first; -1 when
 * there is none. */
LINKS_API int links_http_find(const links_http_req *r, const char *name, size_t len, int after);

/* The name or the value of the field with that index. */
LINKS_API const char *links_http_field_name(const links_http_req *r, int index, int *len);
LINKS_API const char *links_http_field_value(const links_http_req *r, int index, int *len);

/* Where the peer is, as the PROXY protocol has it where that is spoken; and our end. */
LINKS_API void links_http_peer(const links_http_req *r, links_http_place *place);
LINKS_API void links_http_local(const links_http_req *r, links_http_place *place);

/* Who has sent it: the peer, or whom a trusted proxy tells of; port 0 where it does not tell. What
 * it says of the scheme and of the host is at these places, unchecked; NULL: nothing. */
typedef struct links_http_client {
    links_http_place place;
    const char *scheme, *host;
    int scheme_len, host_len;
} links_http_client;
LINKS_API void links_http_client_of(const links_http_req *r, links_http_client *client);

/* For how many milliseconds the request has been here. */
LINKS_API double links_http_age(const links_http_req *r);

/* The server that the request is of. */
LINKS_API const links_http_server *links_http_server_of(const links_http_req *r);

/* The TLS of its connection; NULL: plain. */
LINKS_API links_tls *links_http_tls(const links_http_req *r);

/* Whether the request that had this key is still its worker's: what Lua asks before it follows the
 * pointer of a request that may have been answered since. */
LINKS_API int links_http_is_live(const links_http_server *server, double key);

/* Up to `max` bytes of the body: a count with *data their place until the next call on this
 * connection, 0 at the end of the body, or a failure that stays: HTTP_BODY_TOO_LARGE,
 * HTTP_BAD_FRAMING, EOF when the client has left, ETIMEDOUT. Parks. */
LINKS_API int links_http_read(links_http_req *r, size_t max, const char **data);

/* The trailer fields that came behind the body, as "Name: value\r\n" lines; *len 0 before its end,
 * and where there are none. */
LINKS_API const char *links_http_trailers(const links_http_req *r, int *len);

/* Parks until the client has left (LINKS_EOF) or the request is over (LINKS_CLOSED): the status of
 * the wait. LINKS_EOF at once where he has left already. */
LINKS_API int links_http_watch(links_http_req *r);

/* --- another protocol ------------------------------------------------------------------------ */

struct links_tcp;

/* Whether the request asks for its connection to be taken over (RFC 9110, 7.8) for `proto`, in
 * lower case: 0; LINKS_HTTP_UPGRADE_REQUIRED where it does not, and the answer's fields that say so
 * are staged; LINKS_HTTP_BAD_REQUEST where it has a body; LINKS_SHUTTING_DOWN; LINKS_CLOSED. */
LINKS_API int links_http_can_upgrade(links_http_req *r, const char *proto, size_t len);

/* Answers 101 with the fields that are staged, and makes a socket (tcp.h) of the connection. The
 * request is to be ended as after any other answer. As links_http_can_upgrade. */
LINKS_API int links_http_upgrade(links_http_req *r, const char *proto, size_t len,
                                 struct links_tcp **socket);

/* The bytes of the head, as they were sent. */
LINKS_API const char *links_http_head(const links_http_req *r, int *len);

/* --- the response -------------------------------------------------------------------------- */

enum {
    LINKS_HTTP_SET = 0,     /* replaces fields of that name */
    LINKS_HTTP_ADD = 1,     /* adds another one */
    LINKS_HTTP_TRAILER = 2, /* adds one behind the body */
    LINKS_HTTP_INFORM = 3,  /* adds one to the next informational response */
};

/* Stages a field of the response. Returns 0; -EINVAL for a name or value that cannot stand in a
 * head, LINKS_UNSUPPORTED for one that links itself sets, or that cannot be a trailer;
 * LINKS_EXCEED_BUF_SIZE when all together are more than 16 KiB, LINKS_HTTP_HEADERS_SENT. */
LINKS_API int links_http_set(links_http_req *r, int mode, const char *name, size_t name_len,
                             const char *value, size_t value_len);

/* The value of the `nth` staged field (0: first) of that name: NULL when there is none. */
LINKS_API const char *links_http_get(const links_http_req *r, const char *name, size_t name_len,
                                     int nth, int *len);

/* Takes staged fields of that name back: 0 or LINKS_HTTP_HEADERS_SENT. */
LINKS_API int links_http_unset(links_http_req *r, const char *name, size_t name_len);

/* Takes all staged fields back, for another answer than the one they were for. */
LINKS_API void links_http_reset(links_http_req *r);

/* Answers with all of the body; the request is over. Returns 0, or LINKS_CLOSED when the client
 * has left, and the request is over all the same; LINKS_HTTP_HEADERS_SENT, and it is not. */
LINKS_API int links_http_respond(links_http_req *r, int status, const char *body, size_t len);

/* The same with a body that is JSON: where no Content-Type is set, it says so. */
LINKS_API int links_http_respond_json(links_http_req *r, int status, const char *body, size_t len);

/* Sends the head of an answer whose body follows by links_http_write: `length` bytes in all, or
 * -1 where that is not known: then a Content-Length that was set counts. Returns 0,
 * LINKS_HTTP_HEADERS_SENT, LINKS_CLOSED. */
LINKS_API int links_http_start(links_http_req *r, int status, double length);

/* Takes some of the body: returns how many bytes, LINKS_CLOSED, LINKS_TOO_LARGE beyond the declared
 * length. Parks while the client is slower than we are. */
LINKS_API int links_http_write(links_http_req *r, const char *data, size_t len);

/* Sends an informational response (1xx) with the fields staged for it, and forgets them. 0;
 * LINKS_UNSUPPORTED to HTTP/1.0, where nothing is sent; LINKS_HTTP_HEADERS_SENT; LINKS_CLOSED. */
LINKS_API int links_http_inform(links_http_req *r, int status);

/* 0 when the system has taken all that was written so far; LINKS_CLOSED. Parks. */
LINKS_API int links_http_flush(links_http_req *r);

/* Ends an answer begun by links_http_start; the request is over. 0 or LINKS_CLOSED. */
LINKS_API int links_http_finish(links_http_req *r);

/* Breaks the connection off in the middle of an answer; the request is over. */
LINKS_API void links_http_break(links_http_req *r);

/* The reason phrase of a status; "Unknown" for one that has none. */
LINKS_API const char *links_http_reason(int status);

#endif
