/*
 * A connected socket. It is registered with the loop once; what the loop tells (edges) is
 * remembered here, so that reading and writing are tried first and nothing is ever re-armed.
 * Output is collected in pooled chunks and leaves in one write at the end of the turn.
 *
 * A stream is embedded in its connection, which gets three callbacks. Any of them may close the
 * stream. A closed stream is inert; its owner frees itself through ev_release_later.
 */
#ifndef LINKS_MODULES_NET_STREAM_H
#define LINKS_MODULES_NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/err.h"
#include "net.h"
#include "sendfile.h"
#include "wire.h"

typedef struct stream stream;
typedef struct transport transport;

/* What lies between a stream and its socket where bytes do not travel as they are: TLS. The owner
 * of the stream sees nothing of it. It may keep bytes that the system has not taken yet, which it
 * tells by stream_sealed; the stream comes back for them when the socket has room. */
typedef struct transport_ops {
    /* As stream_read, and says in s->readable whether there may be more. */
    ssize_t (*read)(transport *t, stream *s, void *data, size_t len);
    /* Takes bytes, after what it has kept: how many, -EAGAIN with s->writable false, -errno. With
     * no bytes it sends what it has kept. */
    ssize_t (*write)(transport *t, stream *s, const struct iovec *iov, int count);
    /* The socket has moved; whether the owner is to be told that he may read. */
    bool (*event)(transport *t, stream *s, int events);
    bool (*quiet)(transport *t, stream *s); /* nothing has come, not even the end */
    void (*shutdown)(transport *t, stream *s);
    /* The stream is closed, `clean` where all of its output had gone: the last call. */
    void (*close)(transport *t, stream *s, bool clean);
} transport_ops;

struct transport {
    const transport_ops *ops;
    bool passes_files; /* the system changes what it is given: files need not be read for that */
};

typedef struct stream_ops {
    void (*readable)(stream *s); /* there may be something to read */
    void (*drained)(stream *s);  /* a write has taken some or all of the output */
    void (*failed)(stream *s,
                   int code);    /* a write failed: -ECONNRESET, -EPIPE, ...; the output is gone */
    void (*writable)(stream *s); /* a write may take something again; NULL: of no interest */
} stream_ops;

struct stream {
    ev_io io;
    net *net;
    const stream_ops *ops;
    list dirty; /* on net->dirty while there is output that the next write may take */
    chunk *out, *out_last;
    transport *transport; /* NULL: bytes go as they are */
    ev_release release;   /* for the owner's use, once it is closed */
    uint64_t out_len;     /* bytes not yet taken by the system, those of files included */
    size_t sealed;        /* of them: kept by the transport */
    bool readable;        /* a read may give something: try before waiting */
    bool writable;        /* a write may take something */
    bool hung_up; /* the peer shut down its side, or the socket is in error: read to find out */
    bool held;    /* output is kept until stream_release: more will come soon */
    bool cut;     /* what was written is not all: a transport must not say that it is */
    bool counted; /* output that waits for the peer keeps the loop going */
};

/* Takes over the connected, non-blocking `fd` and watches it. Returns 0, or -errno with the
 * descriptor left open. For one that is still connecting, set `writable` to false then: the end of
 * that is told by ops->writable. */
int stream_open(stream *s, net *n, int fd, const stream_ops *ops);

/* Hands the connection over to another owner: `to` is what `from` was, what has not been written
 * included, and `from` is closed. */
void stream_move(stream *to, stream *from, const stream_ops *ops);

/* Closes the descriptor and drops the output that is left. Harmless on a closed stream. */
void stream_close(stream *s);

/* Closes with a reset instead of the polite farewell: for peers that do not read. */
void stream_abort(stream *s);

bool stream_is_open(const stream *s);

/* Reads up to `len` bytes. Returns a count, LINKS_EOF, -EAGAIN when nothing is there, -errno. */
ALWAYS_INLINE ssize_t stream_read(stream *s, void *data, size_t len)
{
    if (s->io.fd < 0)
        return LINKS_CLOSED;
    if (s->transport)
        return s->transport->ops->read(s->transport, s, data, len);
    ssize_t n = wire_recv(s->io.fd, data, len);
    if (n > 0) {
        /* A short read has emptied the socket, and the next byte will be told of. Only an end of
         * file that has been told of already would not be: then read on until it comes. */
        if ((size_t)n < len && !s->hung_up)
            s->readable = false;
        return n;
    }
    s->readable = false;
    return n == 0 ? LINKS_EOF : n;
}

/* Room for `len` bytes (CHUNK_SIZE at most) at the end of the output; stream_commit says how many
 * of them were filled. Valid until the next call on this stream. */
char *stream_reserve(stream *s, size_t len);
void stream_commit(stream *s, size_t len);

/* Copies `len` bytes to the end of the output. */
void stream_append(stream *s, const void *data, size_t len);

/* Puts a part of a file at the end of the output. The file must have that many bytes when they are
 * sent: where it has not, the stream fails with -EIO. */
void stream_append_file(stream *s, shared_file *f, int64_t offset, int64_t len);

/* Sends a part of a file at once: how many bytes, 0 at its end, -EAGAIN, -errno. Nothing may be in
 * the output. */
ssize_t stream_send_file(stream *s, int fd, int64_t offset, size_t len);

/* Whether nothing has come that was not read, not even the end. */
bool stream_is_quiet(stream *s);

/* For transports: they keep so many bytes. */
void stream_sealed(stream *s, size_t len);

/* Output that waited for something else than the socket can go on. */
void stream_resume(stream *s);

/* Writes what is there now; what the system does not take is kept and goes on by itself. Errors
 * come through ops->failed. */
void stream_flush(stream *s);

/* The same for all streams that are on a list by their `dirty`: at the end of each turn, for those
 * written to. */
void stream_flush_all(list *dirty);

/* Writes the output and after it these bytes, as much as the system takes, and returns how many of
 * these that were: they are not copied and not kept. -EAGAIN when none; -errno, and the output is
 * gone. Held output goes too. At most STREAM_IOV_MAX pieces. */
enum { STREAM_IOV_MAX = 64 };
ssize_t stream_writev(stream *s, const struct iovec *iov, int count);

/* Keeps output from being written at the end of the turn, and lets it go. */
void stream_hold(stream *s);
void stream_release(stream *s);

/* Shuts the write side down: the peer reads an end of file after what was written. */
void stream_shutdown(stream *s);

#endif
