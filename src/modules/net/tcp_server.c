/*
 * Servers: what the listener accepts becomes a socket at once and waits in a queue, from which one
 * coroutine takes it and starts the one that serves it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "listener.h"
#include "tcp_socket.h"
#include "unix.h"

struct tcp_server {
    links_tcp_server view; /* first: Lua's pointer is ours */
    net *net;
    listener listener;
    links_tcp_options options;
    list queue; /* connections that nobody has taken */
    list conns; /* those that somebody has */
    waitq acceptors, drained;
    unix_file file;
    ev_release release;
    bool stopped, freed, referenced;
};

static tcp_server *server_of(links_tcp_server *s) { return (tcp_server *)s; }

/* Whether connections are taken is the owner's wish and the limit's. */
static void update_listener(tcp_server *s)
{
    if (s->view.paused || s->view.connections >= s->options.max_connections)
        listener_pause(&s->listener);
    else
        listener_resume(&s->listener);
}

static void on_accept(listener *l, int fd, const address *peer)
{
    tcp_server *s = CONTAINER_OF(l, tcp_server, listener);
    int rc;
    tcp *c = tcp_new(s->net, fd, &s->options, &rc);
    if (!c) {
        s->listener.nrefused++;
        return;
    }
    c->server = s;
    c->peer = *peer;
    c->is_unix = !peer->family;
    list_push_back(&s->queue, &c->link);
    s->view.connections++;
    update_listener(s);
    waitq_wake_one(&s->acceptors, 0);
}

void tcp_server_forget(tcp_server *s)
{
    s->view.connections--;
    if (!s->stopped)
        update_listener(s);
    if (!s->view.connections)
        waitq_wake_all(&s->drained, 0);
}

void tcp_server_leaked(tcp_server *s) { s->view.leaked++; }

links_tcp *links_tcp_accept(links_tcp_server *ls)
{
    tcp_server *s = server_of(ls);
    list *node = list_pop_front(&s->queue);
    if (node) {
        list_push_back(&s->conns, node);
        return &CONTAINER_OF(node, tcp, link)->view;
    }
    s->view.status = s->stopped ? LINKS_CLOSED : sched_park(&s->acceptors, 0, 0, "tcp accept");
    return NULL;
}

void links_tcp_pause(links_tcp_server *ls, int on)
{
    tcp_server *s = server_of(ls);
    if (s->stopped)
        return;
    ls->paused = on;
    update_listener(s);
}

/* --- open and close ------------------------------------------------------------------------ */

static tcp_server *new_server(const links_tcp_options *options)
{
    tcp_server *s = mem_new(tcp_server);
    s->options = *options;
    s->options.local_address = NULL;
    s->listener.accepted = on_accept;
    list_init(&s->queue);
    list_init(&s->conns);
    waitq_init(&s->acceptors);
    waitq_init(&s->drained);
    return s;
}

/* While it listens, it keeps the process going. */
static void started(tcp_server *s, links_tcp_server **out)
{
    s->net = net_open(sched_loop());
    s->view.port = s->listener.local.port;
    s->view.family = s->listener.local.family;
    s->view.listening = 1;
    ev_ref(s->net->loop);
    s->referenced = true;
    *out = &s->view;
}

void links_tcp_server_unref(links_tcp_server *ls)
{
    tcp_server *s = server_of(ls);
    if (s->referenced)
        ev_unref(s->net->loop);
    s->referenced = false;
}

int links_tcp_listen(links_tcp_server **out, const char *host, int port,
                     const links_tcp_options *options)
{
    listener_options lo = {
        .backlog = options->backlog,
        .reuseport = options->reuseport,
        .nodelay = options->nodelay,
        .v6only = options->v6only,
        .keepalive = options->keepalive,
        .keepidle = options->keepidle,
        .defer = options->defer_accept,
        .fast_open = options->fast_open,
    };
    tcp_server *s = new_server(options);
    int rc = listener_open_host(&s->listener, sched_loop(), host, port, &lo);
    if (rc < 0) {
        mem_free(s);
        return rc;
    }
    started(s, out);
    return 0;
}

int links_tcp_listen_fd(links_tcp_server **out, int fd, const links_tcp_options *options)
{
    int rc = tcp_check_fd(fd);
    if (rc < 0)
        return rc;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    tcp_server *s = new_server(options);
    rc = listener_adopt(&s->listener, sched_loop(), fd, options->backlog);
    if (rc < 0) {
        mem_free(s);
        return rc;
    }
    started(s, out);
    return 0;
}

int links_unix_listen(links_tcp_server **out, const char *path, size_t len,
                      const links_unix_options *file, const links_tcp_options *options)
{
    tcp_server *s = new_server(options);
    uint32_t lease = 0;
    int fd = unix_listen(&s->file, path, len, file, &lease);
    int rc = fd;
    if (fd >= 0)
        rc = listener_adopt(&s->listener, sched_loop(), fd, options->backlog);
    if (rc < 0) {
        if (fd >= 0)
            close(fd);
        unix_file_remove(&s->file);
        mem_free(s);
        return rc;
    }
    listener_owes(&s->listener, lease);
    started(s, out);
    return 0;
}

void links_tcp_stop(links_tcp_server *ls)
{
    tcp_server *s = server_of(ls);
    if (s->stopped)
        return;
    s->stopped = true;
    ls->listening = 0;
    listener_close(&s->listener);
    unix_file_remove(&s->file);
    waitq_wake_all(&s->acceptors, 0);
    links_tcp_server_unref(ls);
}

int links_tcp_drained(links_tcp_server *ls, double timeout_ms)
{
    tcp_server *s = server_of(ls);
    if (!s->view.connections)
        return 0;
    return sched_park(&s->drained, (int64_t)timeout_ms, SCHED_IO, "tcp close");
}

static void abort_all(list *conns)
{
    for (list *l = conns->next, *next; l != conns; l = next) {
        next = l->next;
        tcp_close(CONTAINER_OF(l, tcp, link), true);
    }
}

void links_tcp_abort(links_tcp_server *ls)
{
    tcp_server *s = server_of(ls);
    abort_all(&s->conns);
    while (!list_empty(&s->queue))
        tcp_discard(CONTAINER_OF(s->queue.next, tcp, link));
}

static void release(ev_release *release) { mem_free(CONTAINER_OF(release, tcp_server, release)); }

void links_tcp_server_free(links_tcp_server *ls)
{
    tcp_server *s = server_of(ls);
    if (s->freed)
        return;
    s->freed = true;
    links_tcp_stop(ls);
    while (!list_empty(&s->queue))
        tcp_discard(CONTAINER_OF(s->queue.next, tcp, link));
    for (list *l; (l = list_pop_front(&s->conns));)
        CONTAINER_OF(l, tcp, link)->server = NULL;
    ev_loop *loop = s->net->loop;
    net_close(s->net);
    ev_release_later(loop, &s->release, release);
}

int links_tcp_server_fd(links_tcp_server *ls)
{
    return ls->listening ? server_of(ls)->listener.io.fd : LINKS_CLOSED;
}

/* --- seeing inside --------------------------------------------------------------------------- */

void links_tcp_stats(links_tcp_server *ls)
{
    ls->accepted = (double)server_of(ls)->listener.naccepted;
    ls->refused = (double)server_of(ls)->listener.nrefused;
}

void links_tcp_reject(links_tcp_server *ls) { ls->rejected++; }

void links_tcp_server_address(links_tcp_server *ls, links_tcp_address *out)
{
    char text[ADDRESS_TEXT_MAX];
    const address *at = &server_of(ls)->listener.local;
    *out = (links_tcp_address){.family = at->family, .port = at->port};
    struct sockaddr_un un;
    socklen_t len = sizeof(un);
    int fd = server_of(ls)->listener.io.fd;
    if (!at->family && fd >= 0 && getsockname(fd, (struct sockaddr *)&un, &len) == 0) {
        out->len = unix_path_of(&un, len, out->text);
        return;
    }
    out->len = address_format(at, text);
    memcpy(out->text, text, (size_t)out->len);
}
