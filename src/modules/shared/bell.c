#include "modules/shared/bell.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/random.h"
#include "lua/sched.h"
#include "modules/net/sock.h"

/* Read at once; more than the system keeps, so that only who is flooded stops before the end. */
enum { BATCH = 4096 };

static struct {
    list bells;
    ev_io io;
    uint32_t port;
    uint32_t last; /* number that was given out */
    bool open;
} ears = {.bells = {&ears.bells, &ears.bells}, .io = {.fd = -1}};

static struct sockaddr_in loopback(uint32_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
}

static void tell(uint32_t number)
{
    LIST_EACH (l, &ears.bells) {
        bell *b = CONTAINER_OF(l, bell, link);
        if (b->number == number) {
            b->rung(b);
            return;
        }
    }
}

static void on_datagram(ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    uint32_t number;
    for (int i = 0; i < BATCH; i++) {
        ssize_t n = recv(io->fd, &number, sizeof(number), MSG_DONTWAIT);
        if (n < 0 && errno != EINTR)
            return;
        if (n == sizeof(number))
            tell(number);
    }
}

static int open_ears(void)
{
    struct sockaddr_in at = loopback(0);
    socklen_t size = sizeof(at);
    int fd = sock_open(AF_INET, SOCK_DGRAM);
    if (fd < 0)
        return -errno;
    int rc = 0;
    if (bind(fd, (struct sockaddr *)&at, size) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &size) < 0)
        rc = -errno;
    if (rc == 0)
        rc = ev_io_start(sched_loop(), &ears.io, fd, on_datagram);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    ears.port = ntohs(at.sin_port);
    ears.last = random_bits();
    ears.open = true;
    return 0;
}

int bell_start(bell *b, void (*rung)(bell *b))
{
    if (b->started)
        return 0;
    int rc = ears.open ? 0 : open_ears();
    if (rc < 0)
        return rc;
    b->rung = rung;
    b->number = ++ears.last;
    b->started = true;
    list_push_back(&ears.bells, &b->link);
    return 0;
}

void bell_stop(bell *b)
{
    if (!b->started)
        return;
    b->started = false;
    list_remove(&b->link);
}

bell_address bell_where(const bell *b) { return (bell_address){ears.port, b->number}; }

void bell_ring(bell_address to)
{
    if (ears.open && to.port == ears.port) {
        tell(to.number);
        return;
    }
    /* Who never listens has a socket for that too: it is open from the first ring on. */
    if (!ears.open && open_ears() < 0)
        return;
    struct sockaddr_in at = loopback(to.port);
    ssize_t n;
    do
        n = sendto(ears.io.fd, &to.number, sizeof(to.number), MSG_DONTWAIT | MSG_NOSIGNAL,
                   (struct sockaddr *)&at, sizeof(at));
    while (n < 0 && errno == EINTR);
}

void bell_close(void)
{
    if (ears.open)
        ev_io_close(sched_loop(), &ears.io);
    ears.open = false;
}
