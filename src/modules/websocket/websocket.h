/*
 * WebSockets (RFC 6455) as Lua calls them (lib/links/websocket). A hub is what the connections of a
 * route, or of a client, have in common: the options, and where their messages are taken by
 * functions and not by a loop, the queue of connections for which there is something to call.
 * Workers pull from it, as those of an HTTP server do: links_ws_next.
 *
 * Where a function says "parks", it returns LINKS_AGAIN with the coroutine parked: wait, and with
 * status 0 make the same call again.
 */
#ifndef LINKS_MODULES_WEBSOCKET_WEBSOCKET_H
#define LINKS_MODULES_WEBSOCKET_WEBSOCKET_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    LINKS_WS_BLOCK,    /* a write waits while more is buffered than there may be */
    LINKS_WS_DROP_NEW, /* the message is not sent */
    LINKS_WS_DROP_OLD, /* those that wait longest are not sent */
    LINKS_WS_BREAK,    /* the connection ends */
};

enum {
    LINKS_WS_OPEN = 1,
    LINKS_WS_MESSAGE,
    LINKS_WS_DRAIN,
    LINKS_WS_END,
};

/* Times in milliseconds, sizes in bytes; 0 is no limit. */
typedef struct links_ws_options {
    double max_message_size, max_buffered;
    int max_fragments, max_message_rate, max_per_ip;
    int ping_interval, idle_timeout, close_timeout;
    int on_overflow;
    int pieces;           /* messages are handed out as they come, in pieces */
    int callbacks;        /* by links_ws_next, else by core.fast.wsRead */
    int per_message_task; /* the next message need not wait for the one before */
    int compress, level, threshold;
    int server_no_context, client_no_context, server_bits, client_bits;
} links_ws_options;

/* The fields that Lua may read of a hub. Those of the event are valid until the next call. */
typedef struct links_ws_hub {
    int32_t status; /* why links_ws_next had none: LINKS_AGAIN, or the worker is to end */
    int32_t want;   /* workers that ought to be spawned now */
    int32_t workers;
    int32_t connections;
    int32_t event; /* LINKS_WS_OPEN, ... */
    int32_t kind;  /* of the message: 1 text, 2 binary; 16 more where it is not its last piece */
    const char *data;
    size_t len;
} links_ws_hub;

/* The fields that Lua may read of a connection. */
typedef struct links_ws {
    double id;      /* nobody else has had it */
    double latency; /* ms of the last ping; -1: none was answered yet */
    double dropped; /* messages that were not sent because too much was buffered */
    uint32_t slot;  /* among the connections of its hub now, from 1 */
    int32_t status; /* of the close; 0: not closed by the peer yet */
    uint8_t closed; /* nothing can be written any more */
    uint8_t deflate;
} links_ws;

LINKS_API links_ws_hub *links_ws_hub_new(const links_ws_options *options);

/* Breaks off all connections. The finalizer of the handle. */
LINKS_API void links_ws_hub_free(links_ws_hub *hub);

/* The next connection with an event, or NULL; hub->status says why, and LINKS_AGAIN there is
 * parked. `done` is the one that this worker comes back from. */
LINKS_API links_ws *links_ws_next(links_ws_hub *hub, links_ws *done);

/* A worker begins (1) or ends (-1; `busy` where it ends without having come back). */
LINKS_API void links_ws_worker(links_ws_hub *hub, int change, int busy);

/* --- opening --------------------------------------------------------------------------------- */

struct links_http_req;
struct links_tcp;

/* Whether a request is a handshake (RFC 6455, 4.2.1): as links_http_can_upgrade, and
 * LINKS_HTTP_BAD_REQUEST for a method or a key that is none. */
LINKS_API int links_ws_check(struct links_http_req *r);

/* Answers the handshake with the fields that are staged and takes the connection over; the request
 * is over. `client` is the address that a trusted proxy has told, or NULL for the connection's own.
 * 0, or as links_ws_check; LINKS_FULL where the address has its number of connections. */
LINKS_API int links_ws_accept(links_ws_hub *hub, struct links_http_req *r, const char *client,
                              int port, links_ws **ws);

/* A new key for a client's handshake, 24 characters, and the answer to one, 28; both with a NUL. */
LINKS_API void links_ws_key(char *key);
LINKS_API void links_ws_answer(const char *key, char *answer);

/* What the client offers as Sec-WebSocket-Extensions, 160 bytes at most: its length, 0 for none. */
LINKS_API int links_ws_offer(const links_ws_hub *hub, char *offer);

/* Takes over a socket on which the server has answered, with these extensions. The socket is closed
 * for whoever has it. 0; LINKS_WS_BAD_HANDSHAKE where they are not those that were offered;
 * LINKS_CLOSED. */
LINKS_API int links_ws_connected(links_ws_hub *hub, struct links_tcp *socket,
                                 const char *extensions, size_t len, links_ws **ws);

/* --- a connection ---------------------------------------------------------------------------- */

/* Lua has a finalizer on it from now on; before, the hub frees it. */
LINKS_API void links_ws_own(links_ws *ws);

/* Closes it without a farewell and lets go of it. The finalizer of the handle. */
LINKS_API void links_ws_free(links_ws *ws);

/* Sends a message: 0; LINKS_WS_CLOSED; -EILSEQ for a text that is no UTF-8; LINKS_FULL where it was
 * dropped. Parks, with LINKS_WS_BLOCK. */
LINKS_API int links_ws_write(links_ws *ws, const char *data, size_t len, int kind);

/* Sends a ping with up to 125 bytes: 0, LINKS_WS_CLOSED, LINKS_TOO_LARGE. */
LINKS_API int links_ws_ping(links_ws *ws, const char *data, size_t len);

/* Begins the close handshake: 0, also where it has begun; -EINVAL for a status or a reason that
 * cannot be sent. */
LINKS_API int links_ws_close(links_ws *ws, int status, const char *reason, size_t len);

/* Bytes that the system has not taken yet. */
LINKS_API double links_ws_buffered(const links_ws *ws);

/* The peer's address: its length, text in `text` (46 bytes), and its port. */
LINKS_API int links_ws_peer(const links_ws *ws, char *text, int *port);

/* The TLS of the connection; NULL: it is in the open, or over. */
LINKS_API struct links_tls *links_ws_tls(const links_ws *ws);

/* The reason that the peer gave for its close. */
LINKS_API const char *links_ws_reason(const links_ws *ws, int *len);

/* --- topics ---------------------------------------------------------------------------------- */

/* The connection gets what is published to the topic; one that ends in "*" stands for all that
 * begin so. `member` is what the list of members has of it. 1, 0 where it did already;
 * LINKS_WS_CLOSED; LINKS_TOO_LARGE for a name of more than 255 bytes or a longer member, LINKS_FULL
 * beyond 1024 topics, and in a worker of a cluster what shared memory says. */
LINKS_API int links_ws_subscribe(links_ws *ws, const char *topic, size_t len, const char *member,
                                 size_t member_len);

/* 1, or 0 where it did not. */
LINKS_API int links_ws_unsubscribe(links_ws *ws, const char *topic, size_t len);

/* The name of the `nth` topic (0: first) of a connection; NULL beyond the last. */
LINKS_API const char *links_ws_topic(const links_ws *ws, int nth, int *len);

/* Sends a message to all subscribers but `except`, at the end of the turn, and where `everywhere`
 * is not 0 to those of the cluster's other workers: how many. -EILSEQ for a text that is no UTF-8,
 * LINKS_TOO_LARGE for a message that no inbox of a worker could take. */
LINKS_API double links_ws_publish(const char *topic, size_t topic_len, const char *data, size_t len,
                                  int kind, const links_ws *except, int everywhere);

/* The number of connections of all workers that are subscribed to exactly this topic. */
LINKS_API double links_ws_count(const char *topic, size_t len);

/* This process is that worker of the cluster of that name. */
LINKS_API void links_ws_bus(const char *cluster, size_t len, int worker);

enum { LINKS_WS_MEMBER_MAX = 1024 };

/* A subscription, in a list of such; the next one is `size` bytes behind it. */
typedef struct links_ws_member {
    double ws;       /* the id of its connection, */
    int32_t slot;    /* in this process: see links_presence_is_here */
    uint32_t serial; /* of that place */
    int32_t worker;  /* of the cluster; -1: none */
    uint32_t size;
    uint16_t len; /* of the member, behind */
    uint8_t topic_len;
    uint8_t event; /* LINKS_WS_JOINED, LINKS_WS_LEFT; of no meaning in a list of all */
    char bytes[4]; /* the first of them */
} links_ws_member;

enum { LINKS_WS_JOINED = 66, LINKS_WS_LEFT = 67 };

typedef struct links_ws_question links_ws_question;

/* Asks all processes for the subscriptions to a topic, or to those that a pattern stands for. 0, or
 * a code as links_ws_subscribe. Then links_ws_answered is 0 when all have answered that are there;
 * parks for `timeout_ms` at most; LINKS_TOO_LARGE for a list of more than 64 MiB. The list, as far
 * as it has come, is there until the question is freed. */
LINKS_API int links_ws_ask(links_ws_question **question, const char *topic, size_t len);
LINKS_API int links_ws_answered(links_ws_question *question, double timeout_ms);
LINKS_API const char *links_ws_found(const links_ws_question *question, size_t *len);
LINKS_API void links_ws_question_free(links_ws_question *question);

/* From now on, those who come to the topic, or to one that the pattern stands for, and those who
 * leave it, are among the changes. 0, or a code as links_ws_subscribe. */
LINKS_API int links_ws_watch(const char *topic, size_t len);
LINKS_API void links_ws_unwatch(const char *topic, size_t len);

/* Changes in their order: a list that is there until the next call; *lost is 1 where there may have
 * been others. Parks, without keeping the process alive. */
LINKS_API int links_ws_changes(const char **data, size_t *len, int *lost);

/* Wakes who waits for changes. */
LINKS_API void links_ws_look(void);

/* What this process has had to do with WebSockets so far, as server and as client. */
typedef struct links_ws_counts {
    double connections, opened;        /* there now, and in all */
    double received, sent, dropped;    /* messages; those sent may be dropped later */
    double received_bytes, sent_bytes; /* of frames, as they go over the wire */
    double topics, subscriptions;      /* there now */
} links_ws_counts;

LINKS_API const links_ws_counts *links_ws_counted(void);

/* out: the other workers with subscriptions, messages handed to them, messages that one of them had
 * no room for, messages that came from them, and such that did not because there was no room. */
LINKS_API void links_ws_bus_stats(double out[5]);

#endif
