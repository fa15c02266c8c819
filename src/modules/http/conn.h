/*
 * A connection of the server: from the bytes of the socket to requests, one at a time, and back.
 *
 *   (PROXY ->) IDLE -> HEAD -> BUSY -> (DRAIN ->) IDLE ...   a client that behaves
 *                \-> CLOSING -> LINGER -> gone               one that does not, and the last
 * request
 *
 * While it is idle it holds a struct of some 200 bytes and nothing else: the request, the input
 * buffer and the output come from pools and go back.
 */
#ifndef LINKS_MODULES_HTTP_CONN_H
#define LINKS_MODULES_HTTP_CONN_H

#include "chunked.h"
#include "head.h"
#include "http.h"
#include "lua/sched.h"
#include "modules/net/address.h"
#include "modules/net/stream.h"
#include "trail.h"

typedef struct http_server http_server;
typedef struct http_conn http_conn;
typedef struct http_request http_request;

enum http_conn_state {
    CONN_PROXY,   /* a proxy is to say first whom it passes on */
    CONN_IDLE,    /* no byte of a request has come */
    CONN_HEAD,    /* some have */
    CONN_BUSY,    /* the head is complete: in the queue, or with a worker */
    CONN_DRAIN,   /* answered; the rest of the body is read and dropped */
    CONN_CLOSING, /* nothing more is read; what is to be written is the last */
    CONN_LINGER,  /* written and shut down; the client has a moment to read it */
};

struct http_conn {
    stream stream;
    http_server *server;
    list link; /* in server->conns */
    ev_timer timer;
    chunk *in; /* [start, end) is not yet parsed; a request's head lies before it */
    http_request *req;
    int64_t since_ms;  /* the state began, or last got a byte where that matters */
    int64_t wrote_ms;  /* output last moved */
    uint32_t turn;     /* the turn of the server in which ... */
    uint16_t in_turn;  /* ... so many requests were begun */
    uint32_t requests; /* since it was opened */
    uint8_t state;
    uint8_t empty_lines; /* that came before the request */
    bool keep_alive;
    bool linger; /* input may be unread: closing now would reset the answer away */
    bool moved;  /* to another owner, who leaves the server in its place */
    address peer;
};

/* What is built of an answer before its head is sent. */
typedef struct http_response {
    chunk *fields; /* staged: "Name: value\r\n" ... */
    bool has_type, has_length, has_date, has_server;
    bool json; /* the type of the body where none is set */
    bool started;
    bool upgrade;  /* "Connection: Upgrade" */
    bool bodiless; /* to HEAD, and 204 and 304: the body is counted and not sent */
    bool chunked;
    bool broken;        /* off, in the middle of it */
    int status;         /* 0: no head has been made */
    uint64_t sent;      /* bytes of the head and the body, */
    uint64_t head_sent; /* and of the head alone */
    int64_t left;       /* bytes of the declared length still to come; -1: none declared */
} http_response;

/* What few requests have: made when it is first needed, in extra.c. */
typedef struct http_extra {
    chunk *received; /* trailer fields that came */
    chunk *trailers; /* those to send */
    chunk *informs;  /* fields of the next informational response */
    waitq watchers;  /* woken when the client leaves, or the request is over */
} http_extra;

struct http_request {
    links_http_req view; /* first: Lua's pointer is ours */
    http_conn *conn;
    http_request *next_free;
    uint32_t id; /* its place in server->generations */
    list link;   /* in server->queue, server->later or server->left */
    waitq readers, writers;
    task *worker;      /* whose handler has it */
    http_extra *extra; /* NULL: nothing of that */
    http_response res;
    uint32_t at, head_len; /* of the head in conn->in */
    int64_t body_left;     /* by length */
    int64_t body_read;
    int64_t waited_ms; /* for bytes of the body, in all */
    int64_t parked_ms; /* since when a reader waits for some; 0: none does */
    chunked decoder;
    int body_error; /* stays once it has happened */
    bool is_chunked;
    bool continued; /* 100 Continue needs not be sent (any more) */
    bool queued;
    bool known;                       /* see links_http_meet */
    http_trail_entry *trail;          /* where it is noted: trail.h; NULL: nowhere */
    bool measured;                    /* it counts among those under way: measure.h */
    struct links_http_access *access; /* the log that is to get its line; NULL: none */
    uint64_t start_ns;                /* its head was complete */
    char *notes;                      /* for that line: links_http_note */
    uint32_t notes_len;
    http_head head; /* last: it ends in an array */
};

/* Takes over the descriptor of a new connection. */
void http_conn_open(http_server *server, int fd, const address *peer);

/* Closes at once, whatever goes on; a request that a worker has stays his until he is done. */
void http_conn_abort(http_conn *c, int code);

/* Closes when idle, else with the answer to the request that is there. */
void http_conn_retire(http_conn *c);

/* The rest of the body, as links_http_read. */
long http_conn_body(http_request *r, size_t max, const char **data);

/* The answer has been written to the stream: on to the next request, or to the end. */
void http_conn_answered(http_request *r);

/* Whether the connection will be closed after this answer, for its head to say so. */
bool http_conn_will_close(const http_request *r);

/* Hands the connection over to another owner, as a guest of the server. What has been read of it
 * and is not the request's comes in *in, NULL for nothing. The request stays its worker's until
 * that has answered it, which sends nothing any more. */
void http_conn_move(http_request *r, stream *to, const stream_ops *ops, chunk **in, guest *g);

/* The stream can take no more: breaks off. */
void http_conn_broken(http_request *r);

/* What the request has of the rare things; made where it has nothing yet. */
http_extra *http_request_extra(http_request *r);
void http_extra_free(http_request *r);

/* Keeps a piece of the trailers that come behind a body. */
void http_extra_receive(http_request *r, const char *data, size_t len);

static inline bool http_conn_is_alive(const http_conn *c) { return stream_is_open(&c->stream); }

static inline const char *http_request_base(const http_request *r)
{
    return r->conn->in->data + r->at;
}

#endif
