#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "modules/tls/ktls.h"

#ifndef TCP_ULP
#define TCP_ULP 31
#endif

/* A kernel without it is asked once. */
bool ktls_prepare(int fd)
{
    static bool known, has;
    if (!known) {
        int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        known = probe >= 0;
        /* ENOENT where nobody knows the name; ENOTCONN where it is known. */
        has = probe >= 0 &&
              (setsockopt(probe, IPPROTO_TCP, TCP_ULP, "tls", 4) == 0 || errno == ENOTCONN);
        if (probe >= 0)
            close(probe);
    }
    return has && (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 4) == 0 || errno == EEXIST);
}
