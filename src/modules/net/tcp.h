/*
 * Stream sockets as Lua calls them (lib/links/tcp, lib/links/unix.lua): TCP and, by the same
 * functions, Unix sockets. A socket is its handle's until links_tcp_free; after links_tcp_close
 * the handle stays valid and everything answers LINKS_CLOSED.
 *
 * Where a function says "parks", it returns LINKS_AGAIN with the coroutine parked: wait, and with
 * status 0 make the same call again. A read or a write that ends with another status is over:
 * links_tcp_expired, tcpTake and links_tcp_write_over say what is left of it.
 */
#ifndef LINKS_MODULES_NET_TCP_H
#define LINKS_MODULES_NET_TCP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Times in milliseconds, sizes in bytes. */
typedef struct links_tcp_options {
    int timeout; /* of inactivity; 0: none */
    int nodelay, keepalive;
    int keepidle; /* seconds; 0: the system's */
    int read_buffer_size;
    int backlog, reuseport, v6only, max_connections, proxy_protocol, defer_accept;
    int fast_open; /* of a server: how many connections may be that are not confirmed yet; of
                      connect: 1 lets the first write go with the SYN; 0: off */
    int pass_fds;  /* Unix sockets: descriptors that come are kept */
    const char *local_address; /* of connect; NULL: the system's choice */
    int local_port;
} links_tcp_options;

/* Of the file of a Unix socket; -1: as it comes. */
typedef struct links_unix_options {
    int mode;
    int unlink_stale;
    double uid, gid;
} links_unix_options;

/* The fields that Lua may read of a socket. */
typedef struct links_tcp {
    double bytes_read, bytes_written;
    int32_t closed; /* on this side */
    int32_t read_buffer_size;
} links_tcp;

/* The fields that Lua may read of a server. */
typedef struct links_tcp_server {
    int32_t status; /* why links_tcp_accept had none */
    int32_t connections;
    int32_t port;
    int32_t family; /* 4, 6, or 0 for a Unix socket */
    int32_t listening, paused;
    double accepted, refused, rejected, leaked; /* counted since the start */
} links_tcp_server;

/* An address: of family 4 or 6 as text and port; of family 0 a Unix socket's path, of `len`
 * bytes. */
typedef struct links_tcp_address {
    int32_t family, port, len;
    char text[112];
} links_tcp_address;

/* 4, 6, or 0 for what is no numeric address. */
LINKS_API int links_tcp_is_ip(const char *text, size_t len);

/* --- servers ------------------------------------------------------------------------------- */

/* Listens on a numeric address. Returns 0 and the server, to be freed by links_tcp_server_free, or
 * -errno (-EINVAL for what is no address). */
LINKS_API int links_tcp_listen(links_tcp_server **server, const char *host, int port,
                               const links_tcp_options *options);

/* Listens on a descriptor of a bound stream socket, which is the server's from then on. 0, or
 * -errno with the descriptor left open: -EBADF, -ENOTSOCK, -EPROTOTYPE for one of another type. */
LINKS_API int links_tcp_listen_fd(links_tcp_server **server, int fd,
                                  const links_tcp_options *options);

/* Listens on a path of the file system, or "@name" in the abstract namespace (Linux). A socket file
 * that nobody listens on any more is replaced where `unlink_stale`, and the file is removed by
 * links_tcp_stop. -EADDRINUSE where somebody does, -EPERM where it cannot be given to that user. */
LINKS_API int links_unix_listen(links_tcp_server **server, const char *path, size_t len,
                                const links_unix_options *file, const links_tcp_options *options);

/* A connection, or NULL with server->status: LINKS_AGAIN is parked, LINKS_CLOSED the end. */
LINKS_API links_tcp *links_tcp_accept(links_tcp_server *server);

/* Leaves new connections in the system's queue (1), or takes them again (0). */
LINKS_API void links_tcp_pause(links_tcp_server *server, int on);

/* Stops listening; connections go on. */
LINKS_API void links_tcp_stop(links_tcp_server *server);

/* It keeps the process going no more. */
LINKS_API void links_tcp_server_unref(links_tcp_server *server);

/* Parks until no connection is left, for `timeout_ms` at most; 0 when there is none. */
LINKS_API int links_tcp_drained(links_tcp_server *server, double timeout_ms);

/* Breaks off every connection. */
LINKS_API void links_tcp_abort(links_tcp_server *server);

/* Stops and frees; connections go on. The finalizer of the handle. */
LINKS_API void links_tcp_server_free(links_tcp_server *server);

/* Brings the fields up to date that are not kept so. */
LINKS_API void links_tcp_stats(links_tcp_server *server);

/* The PROXY protocol's header was malformed or late: counts it. */
LINKS_API void links_tcp_reject(links_tcp_server *server);

LINKS_API void links_tcp_server_address(links_tcp_server *server, links_tcp_address *out);

/* Its descriptor, or LINKS_CLOSED. It stays the server's. */
LINKS_API int links_tcp_server_fd(links_tcp_server *server);

/* --- making and ending a connection ---------------------------------------------------------- */

/* Begins to connect to a numeric address. Returns 0 and the socket, or -errno. */
LINKS_API int links_tcp_connect(links_tcp **socket, const char *host, int port,
                                const links_tcp_options *options);

/* The same for a path or "@name". -EAGAIN: the server's queue is full. */
LINKS_API int links_unix_connect(links_tcp **socket, const char *path, size_t len,
                                 const links_tcp_options *options);

/* Makes a socket of a descriptor that is connected, which is the socket's from then on. 0, or
 * -errno with the descriptor left open: -EBADF, -ENOTSOCK, -EPROTOTYPE for one of another type,
 * -ENOTCONN. */
LINKS_API int links_tcp_adopt(links_tcp **socket, int fd, const links_tcp_options *options);

/* Parks until the connection is made, for `timeout_ms` at most. 0 or -errno. */
LINKS_API int links_tcp_connected(links_tcp *socket, double timeout_ms);

/* Reads the PROXY protocol's header (versions 1 and 2), after which the addresses are those of the
 * client. Parks, for `timeout_ms` at most. 0, LINKS_PROTOCOL, or as a read. */
LINKS_API int links_tcp_proxy(links_tcp *socket, double timeout_ms);

/* Writes a header of the PROXY protocol, of version 1 or 2, to `out` (107 bytes): from where to
 * where the client has connected, in numeric addresses; a NULL `source` tells of nobody. Its
 * length, or -EINVAL for what is no address. */
LINKS_API int links_tcp_proxy_header(char *out, int version, const char *source, int source_port,
                                     const char *destination, int destination_port);

/* Closes. What was written goes out in the background; with `reset` it does not, and the peer is
 * told by a reset. Harmless on a closed one. */
LINKS_API void links_tcp_close(links_tcp *socket, int reset);

/* Closes and frees. The finalizer of the handle. */
LINKS_API void links_tcp_free(links_tcp *socket);

/* Shuts the write side down once everything has been written. 0 or a failure. */
LINKS_API int links_tcp_shutdown(links_tcp *socket);

/* Where this side and the peer are. 0 or a failure. */
LINKS_API int links_tcp_local(links_tcp *socket, links_tcp_address *out);
LINKS_API int links_tcp_remote(links_tcp *socket, links_tcp_address *out);

/* The user, group and process at the other end of a Unix socket; a process that the system does
 * not tell is -1. 0 or -errno. */
LINKS_API int links_unix_credentials(links_tcp *socket, int *uid, int *gid, int *pid);

/* Milliseconds of inactivity in either direction; or one time for each. 0: none. */
LINKS_API void links_tcp_timeout(links_tcp *socket, int ms);
LINKS_API void links_tcp_timeouts(links_tcp *socket, int read_ms, int write_ms);

/* Sets or reads an option by name ("sndbuf", "linger", ...). LINKS_NOT_FOUND for a name nobody
 * knows, LINKS_UNSUPPORTED where this system has no such thing, -errno. */
LINKS_API int links_tcp_set(links_tcp *socket, const char *name, int value);
LINKS_API int links_tcp_get(links_tcp *socket, const char *name, int *value);

/* Whether reads that wait keep the process going (1), which they do at first, or not (0). */
LINKS_API void links_tcp_ref(links_tcp *socket, int on);

/* --- reading ------------------------------------------------------------------------------- */

/* A second reader at the same time gets -EBUSY. Data lies at *data until the next call on any
 * socket. The functions for each message (read, readSome, readline, write) are not here but in
 * tcp_socket.h, given to Lua by fastcall. */

/* Waits until `n` bytes are there and leaves them there. Parks. */
LINKS_API int links_tcp_peek(links_tcp *socket, int n, const char **data);

/* Reads into memory of the caller's: 1 to `n` bytes, LINKS_EOF, a failure. Parks. */
LINKS_API int links_tcp_read_into(links_tcp *socket, void *to, size_t n);

/* Reads up to and including a separator; `max` bytes of both at most, else
 * LINKS_EXCEED_BUF_SIZE and nothing is taken. The length without the separator unless `keep`.
 * Parks. */
LINKS_API int links_tcp_read_until(links_tcp *socket, const char *sep, size_t sep_len, int max,
                                   int keep, const char **data);

/* 1 where nothing has come that was not read, not even the end: it may be used for something
 * new. */
LINKS_API int links_tcp_quiet(links_tcp *socket);

/* 1 where the peer takes nothing any more: it has closed, or reset. One that has only said that it
 * sends no more is still there. */
LINKS_API int links_tcp_left(links_tcp *socket);

/* Whether a wait that has ended with -ETIMEDOUT was without activity all the time, for a reader
 * (0) or a writer (1). 0: go on with the call, which waits for the rest of the time. */
LINKS_API int links_tcp_expired(links_tcp *socket, int writing);

/* --- writing ------------------------------------------------------------------------------- */

typedef struct links_tcp_bytes {
    const void *data;
    size_t len;
} links_tcp_bytes;

/* Writes up to 64 pieces by one system call: how many bytes were taken. They stay where they are
 * while this parks. Several writers take turns: each one's data goes out whole. */
LINKS_API int links_tcp_writev(links_tcp *socket, const links_tcp_bytes *pieces, int count);

/* Ends the turn of a writer who gives up before everything was taken. */
LINKS_API void links_tcp_write_over(links_tcp *socket);

/* Waits until the system has taken all that was written: 0 or a failure. Parks. */
LINKS_API int links_tcp_flush(links_tcp *socket);

/* Keeps what is written from going out (1), so that it goes in one piece (0). */
LINKS_API void links_tcp_cork(links_tcp *socket, int on);

/* Opens a regular file for links_tcp_send_file: a descriptor to be closed by links_tcp_close_fd,
 * and its size; or -errno, -EINVAL for what is no regular file. */
LINKS_API int links_tcp_open_file(const char *path, double *size);
LINKS_API int links_tcp_file_size(int fd, double *size);

/* Sends up to `len` bytes of a file: how many, 0 at its end. Parks. */
LINKS_API int links_tcp_send_file(links_tcp *socket, int fd, double offset, double len);

/* --- descriptors, over Unix sockets ----------------------------------------------------------- */

/* The socket's descriptor, LINKS_CLOSED, or -ENOTSUP where it speaks TLS, whose state would not go
 * with it. It stays the socket's. */
LINKS_API int links_tcp_fd(links_tcp *socket);

/* Sends a descriptor along with the first of these bytes: how many of them were taken, at least
 * one. -EBADF where it is not open, -ENOTSUP on a TCP socket, or one that speaks TLS. Parks. */
LINKS_API int links_tcp_send_fd(links_tcp *socket, int fd, const char *data, size_t len);

/* The next descriptor that has come, which is the caller's: the bytes that came with it can be
 * read. Reads until there is one: LINKS_EXCEED_BUF_SIZE where the buffer is full of bytes before
 * it, LINKS_UNSUPPORTED where the socket keeps none. Parks. */
LINKS_API int links_tcp_receive_fd(links_tcp *socket);

/* Closes a descriptor. 0 or -errno. */
LINKS_API int links_tcp_close_fd(int fd);

/* --- from one socket to another -------------------------------------------------------------- */

typedef struct links_tcp_relay {
    double bytes;
} links_tcp_relay;

/* Moves all that `from` gets to `to`, and its end as well, from now on and without Lua. 0 and the
 * relay, to be freed by links_tcp_relay_free; -EBUSY where a task reads `from` or writes to
 * `to`. */
LINKS_API int links_tcp_relay_start(links_tcp_relay **relay, links_tcp *from, links_tcp *to,
                                    int splice);

/* Parks until it is over: 0 after the end of file was passed on, or the failure that ended it. */
LINKS_API int links_tcp_relay_wait(links_tcp_relay *relay);

/* Ends it, whatever it does, and frees it. The finalizer of the handle. */
LINKS_API void links_tcp_relay_free(links_tcp_relay *relay);

#endif
