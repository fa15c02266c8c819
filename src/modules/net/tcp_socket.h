/*
 * A connected stream socket of Lua's: the stream, the input that nobody has read yet, and the
 * tasks that wait for either direction.
 *
 * The life of one: connecting or accepted, open, closed (view.closed: Lua gets CLOSED, nobody waits
 * any more), over (the descriptor is closed: output that the peer was slow to take went out first),
 * and released once Lua has let go of it too.
 */
#ifndef LINKS_MODULES_NET_TCP_SOCKET_H
#define LINKS_MODULES_NET_TCP_SOCKET_H

#include "address.h"
#include "lua/fastcall.h"
#include "lua/sched.h"
#include "stream.h"
#include "tcp.h"

enum {
    TCP_COPY_MAX = 16384,   /* a write up to this is copied, and leaves with others of its turn */
    TCP_OUTPUT_MAX = 65536, /* output kept for a slow peer: beyond, writes park */
    TCP_TURN_CALLS = 16,    /* full system calls of one socket in a row; then others have a turn */
    TCP_LINGER_MS = 10000,  /* for the peer of a closed socket to take the next byte */
    TCP_DISCARD_MS = 2000,  /* for him to close, when he has sent what nobody has read */
    TCP_DISCARD_MAX = 1048576, /* bytes that he may send meanwhile, in one go */
    TCP_UNTIL_MAX = 67108864,  /* of readUntil, whatever its caller allows */
};

typedef struct tcp tcp;
typedef struct tcp_server tcp_server;
typedef struct relay relay;
typedef struct tcp_fds tcp_fds;

struct tcp {
    links_tcp view; /* first: Lua's pointer is ours */
    stream stream;
    list link; /* of the server's connections */
    net_orphan orphan;
    tcp_server *server; /* that counts us; NULL: none, or gone */
    guest *guest;       /* of the HTTP server that it was taken over from; NULL: of none */
    relay *relay_out, *relay_in;
    tcp_fds *fds;           /* descriptors that have come; NULL: none are kept */
    chunk *in;              /* what has been read and not been asked for; NULL: nothing */
    waitq readers, writers; /* one each: who is at it */
    waitq turn;             /* writers that wait for the one who is at it */
    task *reader, *writer;  /* to be compared only: who was parked last */
    ev_timer timer;         /* of an orphan */
    int64_t active_ms;      /* the last byte that came or went */
    uint32_t scanned;       /* bytes of the input without a separator */
    int read_timeout, write_timeout;
    int read_rest, write_rest;   /* of a wait that was not without activity */
    int read_error, write_error; /* they stay */
    address peer, local;         /* local: only where a PROXY header told it */
    uint64_t turn_id;            /* of the loop, that `calls` are counted in */
    uint16_t calls;
    bool reader_woken, writer_woken; /* and has not run yet */
    bool connecting, is_unix;
    bool unrefd;   /* a read that waits does not keep the process going */
    bool each_way; /* the timeouts are for each direction, not for both together */
    bool ended;    /* the write side: shut down, or as soon as the output has gone */
    bool discarding;
    bool over, freed;
};

static inline tcp *tcp_of(links_tcp *s) { return (tcp *)s; }

static inline int64_t tcp_now(const tcp *s) { return ev_now_ms(s->stream.net->loop); }

/* Gives Lua the functions that every message calls (fastcall.h). */
void tcp_open(void);

/* A new socket on `fd`, which is the socket's from now on. NULL with *rc set: -errno, and `fd` is
 * closed. */
tcp *tcp_new(net *n, int fd, const links_tcp_options *options, int *rc);

/* A new socket that is to take a connection over, by stream_move to its stream with tcp_stream_ops.
 * `hosted`: it gets a guest. */
tcp *tcp_new_moved(net *n, bool hosted);
extern const stream_ops tcp_stream_ops;

/* Hands the connection of a socket over to another owner, with what has been read of it (NULL:
 * nothing). The socket is closed for everybody who has it. */
void tcp_move(tcp *s, stream *to, const stream_ops *to_ops, chunk **in);

/* Undoes tcp_new for one that Lua has never seen. */
void tcp_discard(tcp *s);

void tcp_close(tcp *s, bool reset);

/* Sets the options that are not inherited from a listener. 0 or -errno. */
int tcp_configure(int fd, const links_tcp_options *options);

/* Counts a system call of this socket; true when others ought to have their turn first. */
bool tcp_over_budget(tcp *s);

/* --- reading (tcp_read.c) -------------------------------------------------------------------- */

/* Reads what there is, for a buffer of `want` to `limit` bytes. A count, or as a read; parks for
 * `timeout_ms` where that is not negative, else for the socket's timeout. */
int tcp_fill(tcp *s, uint32_t want, uint32_t limit, int timeout_ms);

/* Begins a read: 0, LINKS_CLOSED, -EBUSY. */
int tcp_read_begin(tcp *s);

/* Takes `n` bytes of the input, which stay readable for the moment (net_lend). */
const char *tcp_consume(tcp *s, uint32_t n);

static inline uint32_t tcp_have(const tcp *s) { return s->in ? s->in->end - s->in->start : 0; }

void tcp_wake_reader(tcp *s);

/* For fastcall_add; Lua checks what it gives them only where they answer -EINVAL. */
ptrdiff_t tcp_fast_read(fastcall *call);      /* (n): exactly n bytes; LINKS_TOO_LARGE: in pieces */
ptrdiff_t tcp_fast_read_some(fastcall *call); /* (max): 1 to max bytes */
ptrdiff_t tcp_fast_read_line(fastcall *call); /* (1: keep the line end) */

/* (max): what is left in the buffer, up to that; 0: nothing, or somebody else reads */
ptrdiff_t tcp_fast_take(fastcall *call);

/* --- writing (tcp_write.c) ------------------------------------------------------------------- */

/* (string): how many bytes of it were taken */
ptrdiff_t tcp_fast_write(fastcall *call);

/* Begins a write: 0, LINKS_AGAIN parked, or a failure. */
int tcp_write_begin(tcp *s);

/* Parks the running task as the writer. */
int tcp_park_writer(tcp *s);

/* The writer is done; the next one goes on. */
void tcp_write_end(tcp *s);

void tcp_wake_writer(tcp *s);

/* For who writes past the stream: lets what was written before go before. 0, LINKS_AGAIN parked,
 * or a failure. */
int tcp_flush_for(tcp *s);

/* What came of that: counts the bytes, parks the writer where the socket is full (-EAGAIN), keeps
 * the failure of a peer who has left. Returns what the writer is told. */
int tcp_wrote_past(tcp *s, ssize_t n);

/* Wakes all writers, who fail with `code`. */
void tcp_fail_writers(tcp *s, int code);

/* --- descriptors (tcp_fds.c) ------------------------------------------------------------------ */

/* Whether it is a stream socket: 0, -EBADF, -ENOTSOCK, -EPROTOTYPE. */
int tcp_check_fd(int fd);

/* From now on descriptors that come are kept. */
void tcp_keep_fds(tcp *s);

/* As stream_read, for a socket that keeps them. */
ssize_t tcp_read_with_fds(tcp *s, void *data, size_t len);

/* Closes those that nobody has taken. */
void tcp_drop_fds(tcp *s);

/* --- servers (tcp_server.c), relays (relay.c) ------------------------------------------------- */

/* A connection of this server has gone; `leaked` where Lua had forgotten to close it. */
void tcp_server_forget(tcp_server *server);
void tcp_server_leaked(tcp_server *server);

/* Something may move again. May end the relay. */
void relay_run(relay *r);

/* The socket is closed: it ends, with `code`. */
void relay_end(relay *r, int code);

#endif
