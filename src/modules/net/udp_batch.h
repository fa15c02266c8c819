/* Several datagrams at a time, where the system can do that: udp_linux.c, udp_bsd.c. */
#ifndef LINKS_MODULES_NET_UDP_BATCH_H
#define LINKS_MODULES_NET_UDP_BATCH_H

#include <stddef.h>
#include <sys/socket.h>

/* One datagram: its bytes, and who it comes from or goes to (name_len 0: the peer). */
typedef struct datagram {
    void *data;
    size_t len; /* room when receiving, then what has come */
    struct sockaddr_storage name;
    socklen_t name_len;
    size_t
        segment; /* received: several datagrams of that many bytes each, but for the last; 0: one */
} datagram;

/* Asks for runs of datagrams in one piece, where the system can do that. */
void udp_offload(int fd);

/* Both do not wait, and return how many datagrams they have moved, at most `count`; or -errno where
 * not even the first one. `count` is at most UDP_RECV_BATCH and UDP_SEND_BATCH. */
int udp_recv_batch(int fd, datagram *datagrams, int count);
int udp_send_batch(int fd, const datagram *datagrams, int count);

#endif
