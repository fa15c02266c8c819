/*
 * A WebSocket connection, on a stream that was an HTTP connection before.
 *
 *   open -> (close sent | close got) -> both -> lingering -> gone
 *
 * While it is idle it holds its struct and nothing else. Messages stay where they were read where
 * that is possible (in->data), and else are put together in `big`; those that nobody takes in time
 * are put aside (the queue), so that pings and closes behind them are seen, up to a limit.
 *
 * Output goes straight to the stream. Where that has much already, and where a frame goes to many,
 * frames wait in a list of nodes: so the oldest can be dropped, and pings and pongs overtake.
 */
#ifndef LINKS_MODULES_WEBSOCKET_CONN_H
#define LINKS_MODULES_WEBSOCKET_CONN_H

#include "deflate.h"
#include "frame.h"
#include "lua/sched.h"
#include "modules/net/address.h"
#include "modules/net/stream.h"
#include "websocket.h"

enum {
    WS_AHEAD_MAX = 65536,  /* bytes of messages put aside for who is not reading now */
    WS_DIRECT_MAX = 65536, /* output of the stream, beyond which frames wait in nodes */
    WS_TURN_READS = 16,    /* of one connection in a row; then others have a turn */
    WS_TURN_INFLATES = 1,  /* the same of compressed messages: made to take long, one takes 6 ms */
    WS_TOPICS_MAX = 1024,  /* of one connection */
};

typedef struct ws ws;
typedef struct ws_hub ws_hub;

/* A frame that several connections may share. */
typedef struct ws_frame {
    uint32_t refs;
    size_t len;
    uint8_t data[];
} ws_frame;

/* Its place in the output of one of them. */
typedef struct ws_node {
    struct ws_node *next;
    ws_frame *frame;
    size_t at; /* bytes of it that are written */
    bool control;
} ws_node;

/* A message that was put aside. */
typedef struct ws_message {
    struct ws_message *next;
    size_t len;
    int kind;
    char data[];
} ws_message;

struct ws {
    links_ws view; /* first: Lua's pointer is ours */
    stream stream;
    ws_hub *hub;
    list link;  /* in hub->conns, until it is released */
    list ready; /* in hub->ready: there is an event for a worker */
    list dirty; /* in hub->dirty: to be looked at, at the end of the turn */
    guest guest;
    ev_timer timer;
    waitq readers, writers;

    chunk *in; /* [start, end) is not yet parsed */
    ws_parser parser;
    uint32_t at, place_len; /* of the message in in->data */
    char *big;              /* or here */
    size_t big_len, big_size;
    ws_message *queue, *queue_last;
    size_t queue_bytes;

    ws_node *out, *out_last;
    size_t out_bytes; /* of those nodes */
    list subs;
    uint32_t nsubs, stamp; /* of the last publish that came here */
    ws_deflate deflate;
    ws_deflater *deflater;
    ws_inflater *inflater;

    char *reason;
    uint32_t reason_len;
    int32_t over_code; /* what a reader gets at the end */
    int64_t heard_ms;  /* the last byte came */
    int64_t pinged_ms; /* the last ping of ours went */
    int64_t ending_ms; /* the end began */
    uint64_t ping_ns;  /* when, exactly; 0: it was answered */
    uint32_t rate_second, rate_count;
    address peer;
    uint16_t busy; /* workers that are at it */
    uint8_t kind;  /* of the message that is being read */
    bool ready_message, in_place, last;
    bool want_open, want_drain, want_end; /* events to come */
    bool reader_woken, more;
    bool client, owned, freed, counted_ip, referenced;
    bool deaf; /* closed by us: messages that come are dropped */
    bool close_sent, close_got, read_over, lingering, gone;
    bool choked; /* a write has found too much */
    bool doomed; /* ... and that is the end, with this turn */
};

struct ws_hub {
    links_ws_hub view; /* first: Lua's pointer is ours */
    net *net;
    net_hook hook;
    ev_release release;
    links_ws_options options;
    ws_deflate_options deflate;
    list conns, ready, dirty;
    waitq idle; /* workers */
    int busy;
    int taken; /* in this turn */
    int64_t turn_ms;
    uint32_t refs;
    uint32_t *free_slots;
    uint32_t nslots, nfree, slots_size;
    struct ws_ip *ips; /* connections by address, where they are limited */
    uint32_t ips_size, nips;
    bool hooked, freed;
};

/* In hub.c; counted wherever it happens. */
extern links_ws_counts ws_counts;

static inline ws *ws_of(links_ws *w) { return (ws *)w; }

static inline int64_t ws_now(const ws *w) { return ev_now_ms(w->stream.net->loop); }

static inline bool ws_is_alive(const ws *w) { return stream_is_open(&w->stream); }

/* --- conn.c: the life, the end, the time ----------------------------------------------------- */

extern const stream_ops ws_stream_ops;

/* A connection of the hub, whose stream is to be moved to it. */
ws *ws_new(ws_hub *hub, const address *peer, bool client);

/* The stream has been moved: begins, with what has been read already. */
void ws_begin(ws *w);

/* Closes with that status because of what the peer did. */
void ws_fail(ws *w, int status);

/* The connection is lost, or there is no more to wait for. */
void ws_lose(ws *w);

/* A close frame came, or reading is over otherwise: goes on to the end as far as it can. */
void ws_ending(ws *w);

/* Begins the close handshake, unless it has begun. */
void ws_begin_close(ws *w, int status, const char *reason, size_t len);

/* --- read.c ---------------------------------------------------------------------------------- */

/* Reads and parses until there is a message that has to be taken, or nothing more has come. */
void ws_pump(ws *w);

static inline bool ws_has_message(const ws *w) { return w->queue || w->ready_message; }

/* Takes a message: its bytes stay until the next call on this connection, or of this. */
bool ws_take(ws *w, const char **data, size_t *len, int *kind);

/* A message was taken, and there may be more behind it: should the one who has it take long, that
 * is looked at, at the end of the turn. */
void ws_look_again(ws *w);

/* Gives back what reading has used. */
void ws_free_input(ws *w);
void ws_read_close(void); /* and what is kept of the last message */

/* --- write.c --------------------------------------------------------------------------------- */

/* Sends a control frame, before messages that wait; a close comes after them. */
void ws_send_control(ws *w, int opcode, const uint8_t *data, size_t len);

/* Puts a frame that others share into the output. False where it was dropped. */
bool ws_send_shared(ws *w, ws_frame *f);
ws_frame *ws_frame_new(int kind, bool compressed, const char *data, size_t len);
void ws_frame_unref(ws_frame *f);

/* Writes what waits in nodes, as much as goes. */
void ws_flush(ws *w);

/* The output has become less. */
void ws_drained(ws *w);

/* Drops what waits in nodes. */
void ws_drop_output(ws *w);

static inline size_t ws_buffered(const ws *w) { return (size_t)w->stream.out_len + w->out_bytes; }

/* --- hub.c ----------------------------------------------------------------------------------- */

/* There may be an event for a worker. */
void ws_announce(ws *w);

/* Will be looked at at the end of the turn. */
void ws_mark_dirty(ws *w);

/* The connection joins and leaves. It holds a reference until it is released. */
void ws_hub_join(ws_hub *hub, ws *w);
void ws_hub_leave(ws *w);
void ws_hub_unref(ws_hub *hub);

/* --- topic.c --------------------------------------------------------------------------------- */

void ws_unsubscribe_all(ws *w);

/* --- module ---------------------------------------------------------------------------------- */

/* Gives Lua the function that reads (fastcall.h), and frees at the end what connections share. */
void websocket_open(void);
void websocket_close(void);

#endif
