/*
 * Sockets as all of links wants them: they do not block, and no child inherits them.
 */
#ifndef LINKS_MODULES_NET_SOCK_H
#define LINKS_MODULES_NET_SOCK_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifdef MSG_CMSG_CLOEXEC
#define SOCK_CMSG_CLOEXEC MSG_CMSG_CLOEXEC
#else
#define SOCK_CMSG_CLOEXEC 0 /* macOS: by fcntl, afterwards */
#endif

/* As socket: `domain` is AF_INET and so on. A descriptor, or -1 with errno. */
int sock_open(int domain, int type);

/* As accept. A descriptor, or -1 with errno. */
int sock_accept(int fd, struct sockaddr *from, socklen_t *len);

/* As setsockopt, with an integer. 0 or -errno. */
int sock_set(int fd, int level, int name, int value);

/* Sets what each TCP connection may have: `keepidle` is in seconds, 0 for the system's. 0 or
 * -errno, LINKS_UNSUPPORTED for a `keepidle` where the system has one for all. */
int sock_set_tcp(int fd, bool nodelay, bool keepalive, int keepidle);

/* Sends a descriptor with bytes, over a Unix socket. How many of them went, or -errno. */
ssize_t sock_send_fd(int socket, int fd, const char *data, size_t len);

/* Reads bytes, and into *fd the descriptor that came with them, -1 for none. Their number, 0 at the
 * end, or -errno. */
ssize_t sock_receive_fd(int socket, void *data, size_t len, int *fd);

#endif
