/*
 * Where a server listens, and who is at the other end of its connections: addresses and Unix
 * sockets, proxies that are believed, and what is counted of the connections.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "server.h"

static http_server *server_of(links_http_server *s) { return (http_server *)s; }

static const http_conn *conn_of(const links_http_req *r) { return ((const http_request *)r)->conn; }

static http_listener *listener_of(list *l) { return CONTAINER_OF(l, http_listener, link); }

static void wait_at_door(http_server *s, int fd, const address *peer);

/* --- listening ------------------------------------------------------------------------------- */

static void on_accept(listener *l, int fd, const address *peer)
{
    http_server *s = CONTAINER_OF(l, http_listener, listener)->server;
    if (s->keeps_door)
        wait_at_door(s, fd, peer);
    else
        http_conn_open(s, fd, peer);
    if (s->view.connections >= s->options.max_connections)
        http_server_pause(s, true);
}

void http_server_pause(http_server *s, bool pause)
{
    for (list *l = s->listeners.next; l != &s->listeners; l = l->next) {
        if (pause)
            listener_pause(&listener_of(l)->listener);
        else
            listener_resume(&listener_of(l)->listener);
    }
}

static http_listener *new_listener(http_server *s)
{
    http_listener *hl = mem_new(http_listener);
    hl->server = s;
    hl->listener.accepted = on_accept;
    return hl;
}

static void add_listener(http_server *s, http_listener *hl)
{
    list_push_back(&s->listeners, &hl->link);
    http_server_ref(s);
}

int links_http_listen(links_http_server *ls, const char *host, int port)
{
    http_server *s = server_of(ls);
    const links_http_options *o = &s->options;
    listener_options options = {
        .backlog = o->backlog,
        .reuseport = o->reuseport,
        .exclusive = o->exclusive,
        .nodelay = o->nodelay,
        .v6only = o->v6only,
    };
    http_listener *hl = new_listener(s);
    int rc = listener_open_host(&hl->listener, s->net->loop, host, port, &options);
    if (rc < 0) {
        mem_free(hl);
        return rc;
    }
    add_listener(s, hl);
    return 0;
}

int links_http_listen_unix(links_http_server *ls, const char *path, size_t len, int mode,
                           int unlink_stale)
{
    http_server *s = server_of(ls);
    http_listener *hl = new_listener(s);
    links_unix_options options = {.mode = mode, .unlink_stale = unlink_stale, .uid = -1, .gid = -1};
    uint32_t lease = 0;
    int fd = unix_listen(&hl->file, path, len, &options, &lease);
    int rc = fd;
    if (fd >= 0)
        rc = listener_adopt(&hl->listener, s->net->loop, fd, s->options.backlog);
    if (rc < 0) {
        if (fd >= 0)
            close(fd);
        unix_file_remove(&hl->file);
        mem_free(hl);
        return rc;
    }
    listener_owes(&hl->listener, lease);
    add_listener(s, hl);
    return 0;
}

void http_server_empty_queues(http_server *s)
{
    for (list *l = s->listeners.next; l != &s->listeners; l = l->next)
        listener_empty(&listener_of(l)->listener);
}

void http_server_stop_listeners(http_server *s)
{
    for (list *l = s->listeners.next; l != &s->listeners; l = l->next) {
        listener_close(&listener_of(l)->listener);
        unix_file_remove(&listener_of(l)->file);
    }
}

void http_server_free_listeners(http_server *s)
{
    for (list *l; (l = list_pop_front(&s->listeners));)
        mem_free(listener_of(l));
}

/* --- places ----------------------------------------------------------------------------------- */

static void place_of(links_http_place *place, const address *a)
{
    *place = (links_http_place){.family = a->family, .port = a->port};
    place->len = address_format(a, place->text);
}

/* A Unix socket's own name; what is bound to none has none. */
static void unix_place_of(links_http_place *place, int fd)
{
    struct sockaddr_un un = {0};
    socklen_t len = sizeof(un);
    *place = (links_http_place){0};
    if (getsockname(fd, (struct sockaddr *)&un, &len) == 0)
        place->len = unix_path_of(&un, len, place->text);
}

int links_http_address(const links_http_server *ls, int nth, links_http_place *place)
{
    const http_server *s = (const http_server *)ls;
    list *l = s->listeners.next;
    while (l != &s->listeners && nth-- > 0)
        l = l->next;
    if (l == &s->listeners)
        return -1;
    const http_listener *hl = listener_of(l);
    if (hl->listener.local.family)
        place_of(place, &hl->listener.local);
    else
        unix_place_of(place, hl->listener.io.fd);
    return 0;
}

/* Our end of a socket. */
static void local_place_of(links_http_place *place, int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);
    address at = {0};
    if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0)
        address_from_sockaddr(&at, &ss);
    if (at.family)
        place_of(place, &at);
    else
        unix_place_of(place, fd);
}

void links_http_peer(const links_http_req *r, links_http_place *place)
{
    place_of(place, &conn_of(r)->peer);
}

void links_http_local(const links_http_req *r, links_http_place *place)
{
    const http_conn *c = conn_of(r);
    local_place_of(place, http_conn_is_alive(c) ? c->stream.io.fd : -1);
}

/* --- the door --------------------------------------------------------------------------------- */

/* It counts as a connection, for the limit and for who waits for the last one to go. */
static void wait_at_door(http_server *s, int fd, const address *peer)
{
    http_visitor *v = mem_new(http_visitor);
    v->fd = fd;
    v->peer = *peer;
    place_of(&v->view.remote, peer);
    local_place_of(&v->view.local, fd);
    list_push_back(&s->visitors, &v->link);
    s->view.connections++;
    waitq_wake_one(&s->door, 0);
}

void links_http_keep_door(links_http_server *ls) { server_of(ls)->keeps_door = true; }

links_http_visitor *links_http_visit(links_http_server *ls)
{
    http_server *s = server_of(ls);
    list *l = list_pop_front(&s->visitors);
    if (!l) {
        s->view.status = s->stopped ? LINKS_CLOSED : sched_park(&s->door, 0, 0, "http door");
        return NULL;
    }
    list_push_back(&s->asked, l);
    return &CONTAINER_OF(l, http_visitor, link)->view;
}

void links_http_admit(links_http_server *ls, links_http_visitor *lv, int admit)
{
    http_server *s = server_of(ls);
    http_visitor *v = (http_visitor *)lv;
    list_remove(&v->link);
    if (v->fd >= 0) {
        int before = s->view.connections--;
        if (admit)
            http_conn_open(s, v->fd, &v->peer);
        else
            close(v->fd);
        if (s->view.connections < before) {
            s->view.connections++;
            http_server_forget(s);
        }
    }
    mem_free(v);
}

static void drop(http_server *s, list *visitors)
{
    for (list *l = visitors->next; l != visitors; l = l->next) {
        http_visitor *v = CONTAINER_OF(l, http_visitor, link);
        if (v->fd < 0)
            continue;
        close(v->fd);
        v->fd = -1;
        http_server_forget(s);
    }
}

void http_server_drop_visitors(http_server *s)
{
    drop(s, &s->visitors);
    drop(s, &s->asked);
    waitq_wake_all(&s->door, 0);
}

void http_server_free_visitors(http_server *s)
{
    list *lists[] = {&s->visitors, &s->asked};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        for (list *l; (l = list_pop_front(lists[i]));)
            mem_free(CONTAINER_OF(l, http_visitor, link));
}

/* --- what is going on ------------------------------------------------------------------------- */

double links_http_age(const links_http_req *r)
{
    const http_conn *c = conn_of(r);
    return (double)(ev_now_ms(c->server->net->loop) - c->since_ms);
}

const links_http_server *links_http_server_of(const links_http_req *r)
{
    return &conn_of(r)->server->view;
}

void links_http_stats(links_http_server *ls)
{
    http_server *s = server_of(ls);
    ls->accepted = ls->refused = 0;
    for (list *l = s->listeners.next; l != &s->listeners; l = l->next) {
        ls->accepted += (double)listener_of(l)->listener.naccepted;
        ls->refused += (double)listener_of(l)->listener.nrefused;
    }
    ls->idle = ls->reading = ls->writing = 0;
    for (list *l = s->conns.next; l != &s->conns; l = l->next) {
        const http_conn *c = CONTAINER_OF(l, http_conn, link);
        if (c->stream.out_len || (c->state == CONN_BUSY && c->req->res.started))
            ls->writing++;
        else if (c->state == CONN_IDLE)
            ls->idle++;
        else if (c->state <= CONN_HEAD || c->state == CONN_DRAIN ||
                 (c->state == CONN_BUSY && !waitq_empty(&c->req->readers)))
            ls->reading++;
    }
}
