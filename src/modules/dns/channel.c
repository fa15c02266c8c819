#include "channel.h"

#define CARES_NO_DEPRECATED /* what 1.18 has is what newer versions call deprecated */
#include <ares.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#include "base/mem.h"
#include "message.h"

/* Reads of one socket in a row; then the others have their turn. */
enum { READ_BURST = 16 };

struct channel {
    list link;  /* of all */
    list dirty; /* of those whose timer is to be set */
    channels *owner;
    ares_channel ares;
    ev_timer timer;
    list socks;
    address server;
    int timeout_ms;
    int pending;
    bool tcp;
    bool more; /* a socket may have more to read than was read in its burst */
};

/* A socket of c-ares. */
typedef struct sock {
    list link;
    channel *channel;
    ev_io io;
    ev_release release;
    bool writable; /* it has been: nobody tells again before a write has filled it */
    bool wants;    /* c-ares has something to write */
    bool kick;     /* ... and would not be told */
} sock;

/* A query under way. */
typedef struct sent {
    channel *channel;
    channel_reply *reply;
    void *arg;
} sent;

static void touch(channel *c);

/* --- sockets ------------------------------------------------------------------------------- */

static bool is_open(const sock *s) { return s->io.fd >= 0; }

/* poll and not a look with MSG_PEEK, which would take the error that c-ares is to see. */
static bool has_input(const sock *s)
{
    struct pollfd p = {.fd = s->io.fd, .events = POLLIN};
    return is_open(s) && poll(&p, 1, 0) > 0;
}

/* Lets c-ares read until the socket is empty: of a stream it takes one piece per call. The memory
 * of a socket that it closes meanwhile lives on until the end of the turn. */
static void read_all(sock *s, bool first)
{
    channel *c = s->channel;
    if (first)
        ares_process_fd(c->ares, s->io.fd, ARES_SOCKET_BAD);
    for (int i = 0; has_input(s); i++) {
        if (i == READ_BURST) {
            c->more = true;
            return;
        }
        ares_process_fd(c->ares, s->io.fd, ARES_SOCKET_BAD);
    }
}

static void on_io(ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    sock *s = CONTAINER_OF(io, sock, io);
    channel *c = s->channel;

    if (events & EV_WRITE) {
        s->writable = true;
        if (s->wants)
            ares_process_fd(c->ares, ARES_SOCKET_BAD, io->fd);
    }
    if (events & EV_READ && is_open(s))
        read_all(s, true);
    touch(c);
}

static void release_sock(ev_release *release) { mem_free(CONTAINER_OF(release, sock, release)); }

static sock *find_sock(channel *c, int fd)
{
    LIST_EACH (node, &c->socks) {
        sock *s = CONTAINER_OF(node, sock, link);
        if (s->io.fd == fd)
            return s;
    }
    return NULL;
}

/* c-ares tells of a socket when it opens one, when it wants something of it, and before it closes
 * it. It must not be called from in here. */
static void on_sock_state(void *data, ares_socket_t fd, int readable, int writable)
{
    channel *c = data;
    ev_loop *loop = c->owner->net->loop;
    sock *s = find_sock(c, fd);

    if (!readable && !writable) {
        if (!s)
            return;
        ev_io_stop(loop, &s->io);
        s->io.fd = -1;
        list_remove(&s->link);
        ev_release_later(loop, &s->release, release_sock);
        return;
    }
    if (!s) {
        s = mem_new(sock);
        s->channel = c;
        list_push_back(&c->socks, &s->link);
        /* Where the system has no room for one more, the query runs into its timeout. */
        if (ev_io_start(loop, &s->io, fd, on_io) < 0)
            s->io.fd = fd;
    }
    s->wants = writable;
    if (s->wants && s->writable)
        s->kick = true;
    touch(c);
}

/* --- channels ------------------------------------------------------------------------------ */

static void on_timer(ev_loop *loop, ev_timer *timer)
{
    channel *c = CONTAINER_OF(timer, channel, timer);
    (void)loop;
    if (c->more) {
        list *next;
        c->more = false;
        for (list *l = c->socks.next; l != &c->socks; l = next) {
            /* Closing one socket does not close the next: each is a server's, and there is one
             * server, by UDP and by TCP. But look anew after each all the same. */
            sock *s = CONTAINER_OF(l, sock, link);
            next = l->next;
            read_all(s, false);
            if (list_empty(&s->link))
                break;
        }
    }
    ares_process_fd(c->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    touch(c);
}

static void destroy(channel *c)
{
    channels *cs = c->owner;
    ev_timer_stop(cs->net->loop, &c->timer);
    list_remove(&c->link);
    ares_destroy(c->ares);
    list_remove(&c->dirty);
    cs->count--;
    mem_free(c);
}

static void set_timer(channel *c)
{
    ev_loop *loop = c->owner->net->loop;
    struct timeval tv;
    if (c->more) {
        ev_timer_start(loop, &c->timer, 0, 0);
        return;
    }
    if (!c->pending || !ares_timeout(c->ares, NULL, &tv)) {
        ev_timer_stop(loop, &c->timer);
        return;
    }
    ev_now_update(loop);
    ev_timer_start(loop, &c->timer, (int64_t)tv.tv_sec * 1000 + (tv.tv_usec + 999) / 1000, 0);
}

/* Sends what waits for a chance to be written that nobody will tell of. */
static void kick(channel *c)
{
    for (bool again = true; again;) {
        again = false;
        LIST_EACH (node, &c->socks) {
            sock *s = CONTAINER_OF(node, sock, link);
            if (!s->kick)
                continue;
            s->kick = false;
            ares_process_fd(c->ares, ARES_SOCKET_BAD, s->io.fd);
            ev_loop_again(
                c->owner->net->loop); /* a task may have been woken: it is late for that */
            again = true;             /* the list may be another now */
            break;
        }
    }
}

/* The end of a turn. */
static void on_turn_end(net_hook *hook)
{
    channels *cs = CONTAINER_OF(hook, channels, hook);
    list now;
    list *l;

    list_init(&now);
    list_move_all(&now, &cs->dirty);
    while ((l = list_pop_front(&now))) {
        channel *c = CONTAINER_OF(l, channel, dirty);
        kick(c);
        list_remove(&c->dirty); /* a kick may have made it dirty again */
        set_timer(c);
    }
    if (!list_empty(&cs->dirty)) {
        ev_loop_again(cs->net->loop);
        return;
    }
    net_hook_stop(&cs->hook);
    cs->hooked = false;

    for (l = cs->all.prev; l != &cs->all && cs->count > CHANNELS_IDLE_MAX;) {
        channel *c = CONTAINER_OF(l, channel, link);
        l = l->prev;
        if (!c->pending)
            destroy(c);
    }
}

static void touch(channel *c)
{
    channels *cs = c->owner;
    if (cs->closing)
        return;
    if (list_empty(&c->dirty))
        list_push_back(&cs->dirty, &c->dirty);
    if (!cs->hooked) {
        cs->hooked = true;
        net_hook_start(cs->net, &cs->hook, on_turn_end);
    }
}

static int init_ares(channel *c)
{
    char text[ADDRESS_TEXT_MAX], server[ADDRESS_TEXT_MAX + 10];
    struct ares_options o = {
        /* The code of an answer, and what follows from it, are for the caller to see. */
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_NOCHECKRESP | ARES_FLAG_EDNS |
                 (c->tcp ? ARES_FLAG_USEVC : 0),
        .timeout = c->timeout_ms,
        .tries = 1,
        .ndots = 1,
        .lookups = "b",
        .ednspsz = MESSAGE_UDP_SIZE,
        .resolvconf_path = "/dev/null",
        .sock_state_cb = on_sock_state,
        .sock_state_cb_data = c,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
               ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS | ARES_OPT_SORTLIST |
               ARES_OPT_NOROTATE | ARES_OPT_EDNSPSZ | ARES_OPT_RESOLVCONF | ARES_OPT_SOCK_STATE_CB;
#ifdef ARES_OPT_QUERY_CACHE
    mask |= ARES_OPT_QUERY_CACHE; /* of its own, which is not to be */
    o.qcache_max_ttl = 0;
#endif
    static bool library_ready;
    if (!library_ready && ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS)
        library_ready = true;
    if (ares_init_options(&c->ares, &o, mask) != ARES_SUCCESS)
        return -1;
    address_format(&c->server, text);
    snprintf(server, sizeof(server), c->server.family == 6 ? "[%s]:%u" : "%s:%u", text,
             (unsigned)c->server.port);
    if (ares_set_servers_ports_csv(c->ares, server) == ARES_SUCCESS)
        return 0;
    ares_destroy(c->ares);
    return -1;
}

static channel *channel_for(channels *cs, const address *server, int timeout_ms, bool tcp)
{
    LIST_EACH (node, &cs->all) {
        channel *c = CONTAINER_OF(node, channel, link);
        if (c->timeout_ms == timeout_ms && c->tcp == tcp &&
            memcmp(&c->server, server, sizeof(*server)) == 0) {
            list_remove(&c->link);
            list_push_front(&cs->all, &c->link);
            return c;
        }
    }
    channel *c = mem_new(channel);
    c->owner = cs;
    c->server = *server;
    c->timeout_ms = timeout_ms;
    c->tcp = tcp;
    list_init(&c->socks);
    list_init(&c->dirty);
    ev_timer_init(&c->timer, on_timer);
    if (init_ares(c) < 0) {
        mem_free(c);
        return NULL;
    }
    list_push_front(&cs->all, &c->link);
    cs->count++;
    return c;
}

/* --- queries ------------------------------------------------------------------------------- */

static int status_of(int ares_status)
{
    switch (ares_status) {
    case ARES_SUCCESS:
        return 0;
    case ARES_EDESTRUCTION:
    case ARES_ECANCELLED:
        return DNS_EDESTRUCTION;
    default:
        return -10000 - ares_status;
    }
}

static void on_reply(void *arg, int status, int timeouts, unsigned char *message, int len)
{
    (void)timeouts;
    sent *one = arg;
    one->channel->pending--;
    touch(one->channel);
    /* An answer with an error in it may come with the status of the error. */
    bool replied = message && len > 0;
    one->reply(one->arg, replied ? 0 : status_of(status ? status : ARES_EBADRESP), message,
               replied ? (size_t)len : 0);
    mem_free(one);
}

void channels_send(channels *cs, const address *server, int timeout_ms, bool tcp,
                   const uint8_t *query, int len, channel_reply *reply, void *arg)
{
    channel *c = cs->closing ? NULL : channel_for(cs, server, timeout_ms, tcp);
    if (!c) {
        reply(arg, cs->closing ? DNS_EDESTRUCTION : -10000 - ARES_ENOMEM, NULL, 0);
        return;
    }
    sent *one = mem_new(sent);
    *one = (sent){c, reply, arg};
    c->pending++;
    touch(c);
    ares_send(c->ares, query, len, on_reply, one);
}

void channels_open(channels *cs, net *n)
{
    memset(cs, 0, sizeof(*cs));
    cs->net = n;
    list_init(&cs->all);
    list_init(&cs->dirty);
}

void channels_close(channels *cs)
{
    list *l;
    cs->closing = true;
    while ((l = cs->all.next) != &cs->all)
        destroy(CONTAINER_OF(l, channel, link));
    if (cs->hooked)
        net_hook_stop(&cs->hook);
    ares_library_cleanup();
}

const char *channel_library_version(void) { return ares_version(NULL); }
