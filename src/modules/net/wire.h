/*
 * recv and send as each request calls them.
 *
 * In a process with a second thread, as the watchdog's, glibc makes its own calls points at which a
 * thread can be cancelled: two locked instructions and fifty others around each. Nobody cancels our
 * threads, so on Linux the system is called without that: wire_linux.c.
 */
#ifndef LINKS_MODULES_NET_WIRE_H
#define LINKS_MODULES_NET_WIRE_H

#include <stddef.h>
#include <sys/types.h>

/* What recv(2) and send(2) return: how many bytes, or -1 and errno. */
ssize_t wire_recv(int sock, void *data, size_t len);
ssize_t wire_send(int sock, const void *data, size_t len, int flags);

#endif
