/*
 * Sockets as all of links wants them: they do not block, and no child inherits them.
 */
#ifndef LINKS_MODULES_NET_SOCK_H
#define LINKS_MODULES_NET_SOCK_H

#include <stdbool.h>
#include <sys/socket.h>

/* As socket: `domain` is AF_INET and so on. A descriptor, or -1 with errno. */
int sock_open(int domain, int type);

/* As accept. A descriptor, or -1 with errno. */
int sock_accept(int fd, struct sockaddr *from, socklen_t *len);

/* As setsockopt, with an integer. 0 or -errno. */
int sock_set(int fd, int level, int name, int value);

/* Sets what each TCP connection may have: `keepidle` is in seconds, 0 for the system's. 0 or
 * -errno, LINKS_UNSUPPORTED for a `keepidle` where the system has one for all. */
int sock_set_tcp(int fd, bool nodelay, bool keepalive, int keepidle);

#endif
