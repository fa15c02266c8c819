/*
 * recv and send as each request calls them (base/syscall.h): they return a count or -errno, and are
 * called again where a signal interrupts them.
 */
#ifndef LINKS_MODULES_NET_WIRE_H
#define LINKS_MODULES_NET_WIRE_H

#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "base/syscall.h"

/* The sanitizers look at the bytes in the place of the C library's functions. */
#if defined(__linux__) && defined(SYS_recvfrom) && defined(SYS_sendto) && !defined(LINKS_SANITIZED)

ALWAYS_INLINE ssize_t wire_try_recv(int sock, void *data, size_t len)
{
    return system_call(SYS_recvfrom, sock, (long)data, (long)len, 0);
}

ALWAYS_INLINE ssize_t wire_try_send(int sock, const void *data, size_t len, int flags)
{
    return system_call(SYS_sendto, sock, (long)data, (long)len, flags);
}

#else

ALWAYS_INLINE ssize_t wire_try_recv(int sock, void *data, size_t len)
{
    ssize_t n = recv(sock, data, len, 0);
    return n < 0 ? -errno : n;
}

ALWAYS_INLINE ssize_t wire_try_send(int sock, const void *data, size_t len, int flags)
{
    ssize_t n = send(sock, data, len, flags);
    return n < 0 ? -errno : n;
}

#endif

ALWAYS_INLINE ssize_t wire_recv(int sock, void *data, size_t len)
{
    ssize_t n;
    do
        n = wire_try_recv(sock, data, len);
    while (n == -EINTR);
    return n;
}

ALWAYS_INLINE ssize_t wire_send(int sock, const void *data, size_t len, int flags)
{
    ssize_t n;
    do
        n = wire_try_send(sock, data, len, flags);
    while (n == -EINTR);
    return n;
}

#endif
