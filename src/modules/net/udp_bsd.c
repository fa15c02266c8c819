/* Batches of datagrams, one call for each. */
#include <errno.h>

#include "udp.h"
#include "udp_batch.h"

void udp_offload(int fd) { (void)fd; }

int udp_recv_batch(int fd, datagram *d, int count)
{
    int n = 0;
    while (n < count) {
        d[n].name_len = sizeof(d[n].name);
        ssize_t len = recvfrom(fd, d[n].data, d[n].len, MSG_DONTWAIT, (struct sockaddr *)&d[n].name,
                               &d[n].name_len);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return n ? n : -errno;
        d[n].segment = 0;
        d[n++].len = (size_t)len;
    }
    return n;
}

int udp_send_batch(int fd, const datagram *d, int count)
{
    int n = 0;
    while (n < count) {
        const struct sockaddr *to = d[n].name_len ? (const struct sockaddr *)&d[n].name : NULL;
        ssize_t len =
            sendto(fd, d[n].data, d[n].len, MSG_DONTWAIT | MSG_NOSIGNAL, to, d[n].name_len);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return n ? n : -errno;
        n++;
    }
    return n;
}
