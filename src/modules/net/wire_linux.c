#include "wire.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The sanitizers look at the bytes in the place of the C library's functions. */
#if defined(LINKS_SANITIZED) || !defined(SYS_recvfrom) || !defined(SYS_sendto)

ssize_t wire_recv(int sock, void *data, size_t len) { return recv(sock, data, len, 0); }

ssize_t wire_send(int sock, const void *data, size_t len, int flags)
{
    return send(sock, data, len, flags);
}

#else

ssize_t wire_recv(int sock, void *data, size_t len)
{
    return syscall(SYS_recvfrom, sock, data, len, 0, NULL, NULL);
}

ssize_t wire_send(int sock, const void *data, size_t len, int flags)
{
    return syscall(SYS_sendto, sock, data, len, flags, NULL, 0);
}

#endif
