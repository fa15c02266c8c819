#include "wire.h"

#include <sys/socket.h>

ssize_t wire_recv(int sock, void *data, size_t len) { return recv(sock, data, len, 0); }

ssize_t wire_send(int sock, const void *data, size_t len, int flags)
{
    return send(sock, data, len, flags);
}
