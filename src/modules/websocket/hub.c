/*
 * What the connections of a route have in common, and the workers that take their messages.
 */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "conn.h"
#include "handshake.h"
#include "lua/sched.h"
#include "modules/http/conn.h"
#include "modules/http/server.h"
#include "modules/net/tcp_socket.h"

enum {
    TURN_BUDGET = 1024, /* events handed out between two looks at the system's */
    TURN_BUDGET_MS = 5, /* and the time for them, looked at every few events */
    IDLE_WORKERS = 64,  /* that stay when there is nothing to do */
    SPAWN_MAX = 32,     /* asked for at once */
    IPS_FIRST = 64,
};

typedef struct ws_ip {
    address at; /* port 0 */
    uint32_t count;
} ws_ip;

links_ws_counts ws_counts;

const links_ws_counts *links_ws_counted(void) { return &ws_counts; }

static ws_hub *hub_of(links_ws_hub *h) { return (ws_hub *)h; }

/* --- the end of the turn --------------------------------------------------------------------- */

static void on_turn_end(net_hook *hook)
{
    ws_hub *h = CONTAINER_OF(hook, ws_hub, hook);
    list dirty;
    h->taken = 0;
    list_init(&dirty);
    list_move_all(&dirty, &h->dirty);
    for (list *l; (l = list_pop_front(&dirty));) {
        ws *w = CONTAINER_OF(l, ws, dirty);
        if (w->doomed) {
            stream_abort(&w->stream);
            ws_lose(w);
            continue;
        }
        if (w->out)
            ws_flush(w);
        if (w->more) {
            w->more = false;
            ws_pump(w);
        }
    }
    if (!list_empty(&h->ready)) {
        int n = 0;
        LIST_EACH (l, &h->ready) {
            if (n++ == SPAWN_MAX || !waitq_wake_one(&h->idle, 0))
                break;
        }
        ev_loop_again(h->net->loop);
    } else if (list_empty(&h->dirty)) {
        h->hooked = false;
        net_hook_stop(hook);
        return;
    }
    ev_loop_again(h->net->loop);
}

static void hook(ws_hub *h)
{
    if (h->hooked)
        return;
    h->hooked = true;
    net_hook_start(h->net, &h->hook, on_turn_end);
}

void ws_mark_dirty(ws *w)
{
    if (w->gone || !list_empty(&w->dirty))
        return;
    list_push_back(&w->hub->dirty, &w->dirty);
    hook(w->hub);
}

/* --- the queue and the workers --------------------------------------------------------------- */

static bool has_event(const ws *w)
{
    if (w->want_open)
        return !w->busy;
    if (ws_has_message(w) && !w->deaf)
        return !w->busy || w->hub->options.per_message_task;
    return !w->busy && (w->want_drain || w->want_end);
}

void ws_announce(ws *w)
{
    ws_hub *h = w->hub;
    if (!h->options.callbacks) {
        if ((ws_has_message(w) || w->read_over) && waitq_wake_one(&w->readers, 0)) {
            w->reader_woken = true;
            ev_loop_again(w->stream.net->loop);
        }
        return;
    }
    if (w->freed || !list_empty(&w->ready) || !has_event(w))
        return;
    bool first = list_empty(&h->ready);
    list_push_back(&h->ready, &w->ready);
    hook(h);
    if (first && !h->taken && waitq_wake_one(&h->idle, 0))
        ev_loop_again(h->net->loop);
}

static bool over_budget(ws_hub *h)
{
    if (h->taken >= TURN_BUDGET)
        return true;
    if (h->taken & 15)
        return false;
    if (!h->taken) {
        h->turn_ms = ev_now_ms(h->net->loop);
        return false;
    }
    return ev_now_update(h->net->loop) - h->turn_ms >= TURN_BUDGET_MS;
}

static links_ws *park_worker(ws_hub *h)
{
    int idle = h->view.workers - h->busy;
    if (list_empty(&h->ready) && (idle > IDLE_WORKERS || !h->view.connections))
        h->view.status = LINKS_EOF;
    else
        h->view.status = sched_park(&h->idle, 0, 0, "websocket next");
    return NULL;
}

/* What is next of a connection that has an event. */
static void take_event(ws_hub *h, ws *w)
{
    int kind = 0;
    h->view.data = NULL;
    h->view.len = 0;
    if (w->want_open) {
        w->want_open = false;
        h->view.event = LINKS_WS_OPEN;
    } else if (ws_has_message(w) && !w->deaf) {
        (void)ws_take(w, &h->view.data, &h->view.len, &kind);
        ws_look_again(w);
        h->view.event = LINKS_WS_MESSAGE;
    } else if (w->want_drain) {
        w->want_drain = false;
        h->view.event = LINKS_WS_DRAIN;
    } else {
        w->want_end = false;
        h->view.event = LINKS_WS_END;
    }
    h->view.kind = kind;
}

/* A worker has come back from this connection: it may go on. */
static void go_on(ws *w)
{
    w->busy--;
    if (!w->read_over && !w->gone)
        ws_pump(w);
    ws_announce(w);
}

links_ws *links_ws_next(links_ws_hub *lh, links_ws *done)
{
    ws_hub *h = hub_of(lh);
    if (done) {
        h->busy--;
        go_on(ws_of(done));
        if (sched_is_marked()) {
            lh->status = -ECANCELED; /* the next event gets a worker without a past */
            return NULL;
        }
    }
    if (list_empty(&h->ready) || over_budget(h))
        return park_worker(h);
    ws *w = CONTAINER_OF(list_pop_front(&h->ready), ws, ready);
    take_event(h, w);
    w->busy++;
    h->busy++;
    h->taken++;
    if (h->options.per_message_task && lh->event == LINKS_WS_MESSAGE) {
        const char *data = lh->data; /* stays: nothing is taken here */
        ws_announce(w);
        lh->data = data;
    }
    lh->want = 0;
    if (h->busy == lh->workers) {
        /* Nobody would be left for the others, should this one wait for something. */
        int want = 1;
        for (list *l = h->ready.next; l != &h->ready && want < SPAWN_MAX; l = l->next)
            want++;
        lh->want = want;
    }
    return &w->view;
}

void links_ws_worker(links_ws_hub *lh, int change, int busy)
{
    lh->workers += change;
    hub_of(lh)->busy -= busy;
}

/* --- connections by address ------------------------------------------------------------------ */

static uint32_t hash(const address *a)
{
    uint32_t h = 2166136261u ^ a->family;
    for (size_t i = 0; i < sizeof(a->ip); i++)
        h = (h ^ a->ip[i]) * 16777619u;
    return h ^ h >> 15;
}

/* Where an address is, or would be; a free place has the family 0. */
static ws_ip *find_ip(const ws_hub *h, const address *a)
{
    uint32_t i = hash(a) & (h->ips_size - 1);
    while (h->ips[i].at.family &&
           (h->ips[i].at.family != a->family || memcmp(h->ips[i].at.ip, a->ip, sizeof(a->ip)) != 0))
        i = (i + 1) & (h->ips_size - 1);
    return &h->ips[i];
}

/* Addresses that have no connection any more leave at the next growth. */
static void grow_ips(ws_hub *h)
{
    ws_ip *old = h->ips;
    uint32_t size = h->ips_size, live = 0;
    for (uint32_t i = 0; i < size; i++)
        live += old[i].count > 0;
    h->ips_size = IPS_FIRST;
    while (h->ips_size < live * 4)
        h->ips_size *= 2;
    h->ips = mem_zalloc(h->ips_size * sizeof(ws_ip));
    h->nips = live;
    for (uint32_t i = 0; i < size; i++)
        if (old[i].count)
            *find_ip(h, &old[i].at) = old[i];
    mem_free(old);
}

static bool is_limited(const ws_hub *h, const address *peer)
{
    return h->options.max_per_ip && peer->family;
}

static bool is_full(const ws_hub *h, const address *peer)
{
    return is_limited(h, peer) && h->ips_size &&
           find_ip(h, peer)->count >= (uint32_t)h->options.max_per_ip;
}

static void count_ip(ws *w)
{
    ws_hub *h = w->hub;
    if (!is_limited(h, &w->peer))
        return;
    if ((h->nips + 1) * 2 > h->ips_size)
        grow_ips(h);
    ws_ip *ip = find_ip(h, &w->peer);
    if (!ip->at.family) {
        ip->at = w->peer;
        h->nips++;
    }
    ip->count++;
    w->counted_ip = true;
}

/* --- joining --------------------------------------------------------------------------------- */

void ws_hub_join(ws_hub *h, ws *w)
{
    if (!h->nfree && h->nslots == h->slots_size) {
        h->slots_size = h->slots_size ? h->slots_size * 2 : 4;
        h->free_slots = mem_realloc(h->free_slots, h->slots_size * sizeof(uint32_t));
    }
    w->view.slot = h->nfree ? h->free_slots[--h->nfree] : ++h->nslots;
    h->view.connections++;
    ws_counts.connections++;
    ws_counts.opened++;
    h->refs++;
    list_push_back(&h->conns, &w->link);
    count_ip(w);
}

void ws_hub_leave(ws *w)
{
    ws_hub *h = w->hub;
    h->view.connections--;
    ws_counts.connections--;
    if (w->counted_ip)
        find_ip(h, &w->peer)->count--;
    if (!h->view.connections && waitq_wake_all(&h->idle, 0))
        ev_loop_again(h->net->loop);
}

static void release(ev_release *r)
{
    ws_hub *h = CONTAINER_OF(r, ws_hub, release);
    net_close(h->net);
    mem_free(h->free_slots);
    mem_free(h->ips);
    mem_free(h);
}

void ws_hub_unref(ws_hub *h)
{
    if (--h->refs)
        return;
    net_hook_stop(&h->hook);
    ev_release_later(h->net->loop, &h->release, release);
}

links_ws_hub *links_ws_hub_new(const links_ws_options *o)
{
    ws_hub *h = mem_new(ws_hub);
    h->options = *o;
    h->deflate = (ws_deflate_options){
        .on = o->compress,
        .server_no_context = o->server_no_context,
        .client_no_context = o->client_no_context,
        .server_bits = (uint8_t)o->server_bits,
        .client_bits = (uint8_t)o->client_bits,
    };
    list_init(&h->conns);
    list_init(&h->ready);
    list_init(&h->dirty);
    list_init(&h->hook.link);
    waitq_init(&h->idle);
    h->net = net_open(sched_loop());
    h->refs = 1;
    return &h->view;
}

void links_ws_hub_free(links_ws_hub *lh)
{
    ws_hub *h = hub_of(lh);
    if (h->freed)
        return;
    h->freed = true;
    for (list *l = h->conns.next, *next; l != &h->conns; l = next) {
        next = l->next;
        ws *w = CONTAINER_OF(l, ws, link);
        if (!w->owned) {
            ws_lose(w);
            links_ws_free(&w->view);
        }
    }
    ws_hub_unref(h);
}

/* --- opening --------------------------------------------------------------------------------- */

/* The one value of a field; NULL where there is none, or more than one. */
static const char *only(const links_http_req *r, const char *name, int *len)
{
    size_t name_len = strlen(name);
    int i = links_http_find(r, name, name_len, -1);
    if (i < 0 || links_http_find(r, name, name_len, i) >= 0)
        return NULL;
    return links_http_field_value(r, i, len);
}

int links_ws_check(links_http_req *r)
{
    int len;
    int rc = links_http_can_upgrade(r, "websocket", 9);
    if (rc < 0)
        return rc;
    const char *version = only(r, "sec-websocket-version", &len);
    if (!version || len != 2 || memcmp(version, "13", 2) != 0) {
        (void)links_http_set(r, LINKS_HTTP_SET, "Upgrade", 7, "websocket", 9);
        (void)links_http_set(r, LINKS_HTTP_SET, "Sec-WebSocket-Version", 21, "13", 2);
        return LINKS_HTTP_UPGRADE_REQUIRED;
    }
    const char *key = only(r, "sec-websocket-key", &len);
    if (r->method != HTTP_GET || !key || !ws_key_is_valid(key, (size_t)len))
        return LINKS_HTTP_BAD_REQUEST;
    return 0;
}

/* What the client offers, in however many fields, is agreed on in the first that can be. */
static void agree(const ws_hub *h, links_http_req *r, ws_deflate *d)
{
    static const char name[] = "sec-websocket-extensions";
    char answer[WS_EXTENSION_MAX];
    for (int i = -1, n = 0; !n && (i = links_http_find(r, name, sizeof(name) - 1, i)) >= 0;) {
        int len;
        const char *offer = links_http_field_value(r, i, &len);
        n = ws_deflate_accept(d, &h->deflate, offer, (size_t)len, answer);
        if (n)
            (void)links_http_set(r, LINKS_HTTP_SET, "Sec-WebSocket-Extensions", 24, answer,
                                 (size_t)n);
    }
}

int links_ws_accept(links_ws_hub *lh, links_http_req *lr, const char *client, int port,
                    links_ws **out)
{
    ws_hub *h = hub_of(lh);
    http_request *r = (http_request *)lr;
    char accept[WS_ACCEPT_LEN + 1];
    ws_deflate deflate = {0};
    int len;
    int rc = links_ws_check(lr);
    if (rc < 0)
        return rc;
    address peer = r->conn->peer;
    if (client && address_parse(&peer, client, port) < 0)
        peer = r->conn->peer;
    if (is_full(h, &peer))
        return LINKS_FULL;
    ws_accept_of(only(lr, "sec-websocket-key", &len), accept);
    agree(h, lr, &deflate);
    rc = links_http_set(lr, LINKS_HTTP_SET, "Upgrade", 7, "websocket", 9);
    if (rc == 0)
        rc = links_http_set(lr, LINKS_HTTP_SET, "Sec-WebSocket-Accept", 20, accept, WS_ACCEPT_LEN);
    if (rc < 0)
        return rc;
    http_write_switch(r);
    ws *w = ws_new(h, &peer, false);
    w->deflate = deflate;
    http_conn_move(r, &w->stream, &ws_stream_ops, &w->in, &w->guest);
    http_conn_answered(r);
    ws_begin(w);
    *out = &w->view;
    return 0;
}

void links_ws_key(char *key) { ws_new_key(key); }

void links_ws_answer(const char *key, char *answer) { ws_accept_of(key, answer); }

int links_ws_offer(const links_ws_hub *lh, char *offer)
{
    return ws_deflate_offer(&((const ws_hub *)lh)->deflate, offer);
}

int links_ws_connected(links_ws_hub *lh, links_tcp *socket, const char *extensions, size_t len,
                       links_ws **out)
{
    ws_hub *h = hub_of(lh);
    tcp *s = tcp_of(socket);
    ws_deflate deflate;
    if (!ws_deflate_agree(&deflate, &h->deflate, extensions, len))
        return LINKS_WS_BAD_HANDSHAKE;
    if (socket->closed)
        return LINKS_CLOSED;
    ws *w = ws_new(h, &s->peer, true);
    w->deflate = deflate;
    tcp_move(s, &w->stream, &ws_stream_ops, &w->in);
    /* Who takes messages by functions has no task that would keep the process alive. */
    w->referenced = h->options.callbacks;
    if (w->referenced)
        ev_ref(h->net->loop);
    ws_begin(w);
    *out = &w->view;
    return 0;
}
