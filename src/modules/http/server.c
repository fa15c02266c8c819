#include "server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "access_log.h"
#include "base/mem.h"
#include "fields.h"
#include "measure.h"
#include "modules/tls/transport.h"

static http_server *server_of(links_http_server *s) { return (http_server *)s; }

static const http_request *req_of(const links_http_req *r) { return (const http_request *)r; }

/* --- requests ------------------------------------------------------------------------------ */

/* A request's key: its id in the low bits, the generation above, within a double's 53. An id goes
 * to another request when its own is freed; a generation never comes back. */
enum { ID_BITS = 21 };

static uint32_t id_take(http_server *s)
{
    if (s->nfree_ids)
        return s->free_ids[--s->nfree_ids];
    if (s->nids == s->ids_size) {
        s->ids_size = s->ids_size ? s->ids_size * 2 : 64;
        s->generations = mem_realloc(s->generations, s->ids_size * sizeof(uint32_t));
        s->free_ids = mem_realloc(s->free_ids, s->ids_size * sizeof(uint32_t));
    }
    s->generations[s->nids] = 0;
    return s->nids++;
}

int links_http_is_live(const links_http_server *ls, double key)
{
    const http_server *s = (const http_server *)ls;
    uint64_t k = (uint64_t)key;
    uint32_t id = (uint32_t)(k & ((1u << ID_BITS) - 1));
    return id < s->nids && s->generations[id] == (uint32_t)(k >> ID_BITS);
}

/* The key of a request that is about to be handed out. */
static double key_of(const http_server *s, const http_request *r)
{
    return (double)((uint64_t)s->generations[r->id] << ID_BITS | r->id);
}

http_request *http_request_new(http_conn *c)
{
    http_server *s = c->server;
    http_request *r = s->free_requests;
    if (r) {
        s->free_requests = r->next_free;
        s->nfree--;
        mem_prefetch(r->next_free, sizeof(*r)); /* likely the next connection's */
    } else {
        r = mem_alloc(sizeof(*r) - sizeof(http_head) + http_head_size(s->limits.header_count));
        list_init(&r->link);
        r->extra = NULL;
        r->view.cut = 0;
        waitq_init(&r->readers);
        waitq_init(&r->writers);
        r->id = id_take(s);
        r->known = false;
        r->trail = NULL;
    }
    r->conn = c;
    r->worker = NULL;
    r->queued = false;
    r->measured = false;
    r->access = NULL;
    r->notes = NULL;
    r->notes_len = 0;
    r->res = (http_response){.left = -1};
    http_head_init(&r->head, &s->limits);
    return r;
}

void http_request_over(http_request *r)
{
    r->conn->server->generations[r->id]++;
    if (r->extra)
        http_extra_free(r);
    if (r->trail)
        trail_end(r->trail, r);
    if (r->view.cut)
        list_remove(&r->link);
}

void http_request_free(http_request *r)
{
    http_server *s = r->conn->server;
    if (r->measured)
        http_measure_end(r);
    if (r->access)
        http_access_log(r);
    if (r->notes)
        mem_free(r->notes);
    /* Somebody else than the one who answered may still wait for the body. */
    if (!waitq_empty(&r->readers))
        waitq_wake_all(&r->readers, LINKS_CLOSED);
    if (!waitq_empty(&r->writers))
        waitq_wake_all(&r->writers, LINKS_CLOSED);
    if (r->queued) {
        list_remove(&r->link);
        s->view.queued--;
    }
    if (r->res.fields)
        http_response_reset(r);
    http_request_over(r);
    r->conn = NULL;
    if (s->nfree >= HTTP_FREE_REQUESTS) {
        s->free_ids[s->nfree_ids++] = r->id;
        mem_free(r);
        return;
    }
    r->next_free = s->free_requests;
    s->free_requests = r;
    s->nfree++;
}

/* --- the queue and the workers -------------------------------------------------------------- */

void http_server_push(http_server *s, http_request *r)
{
    http_conn *c = r->conn;
    if (c->turn != s->turn) {
        c->turn = s->turn;
        c->in_turn = 0;
    }
    r->queued = true;
    s->view.queued++;
    if (c->in_turn >= s->options.max_pipelined) {
        list_push_back(&s->later, &r->link);
        return;
    }
    /* What comes right behind an answer is taken next: all of it is still in the cache. */
    if (c->in_turn++)
        list_push_front(&s->queue, &r->link);
    else
        list_push_back(&s->queue, &r->link);
    /* One worker goes on for as long as there are requests. Others are woken at the end of the
     * turn, if he was kept by one. */
    if (s->taken == 0 && s->view.queued == 1)
        waitq_wake_one(&s->idle, 0);
}

static bool over_budget(http_server *s)
{
    if (s->taken >= HTTP_TURN_BUDGET)
        return true;
    if (s->taken & 15)
        return false;
    if (!s->taken) {
        s->turn_ms = ev_now_ms(s->net->loop);
        return false;
    }
    return ev_now_update(s->net->loop) - s->turn_ms >= HTTP_TURN_BUDGET_MS;
}

/* Puts the worker to sleep until there is a request, or tells it to end. */
static int park_worker(http_server *s)
{
    int idle = s->workers - s->busy;
    if (!list_empty(&s->left))
        s->view.status = LINKS_HTTP_LEFT;
    else if (s->stopped && !s->view.connections)
        s->view.status = LINKS_CLOSED;
    else if (idle > HTTP_IDLE_WORKERS && list_empty(&s->queue))
        s->view.status = LINKS_EOF;
    else
        s->view.status = sched_park(&s->idle, 0, 0, "http next");
    return -1;
}

links_http_req *links_http_meet(links_http_server *ls)
{
    http_request *r = CONTAINER_OF(server_of(ls)->queue.next, http_request, link);
    r->view.id = (int32_t)r->id;
    r->known = true;
    r->trail = trail_entry();
    return &r->view;
}

/* For who looks at this process when it has died. */
static inline void note(const http_request *r)
{
    const chunk *in = r->conn->in;
    r->trail->began_ns = r->start_ns;
    r->trail->task = sched_id(r->worker);
    trail_begin(r->trail, r, &r->view, (size_t)(in->data + in->size - r->view.url));
}

int links_http_next(links_http_server *ls, int answered)
{
    http_server *s = server_of(ls);
    s->busy -= answered;
    if (answered && sched_is_marked()) {
        s->view.status = -ECANCELED; /* the next request gets a worker without a past */
        return -1;
    }
    if (list_empty(&s->queue) || over_budget(s))
        return park_worker(s);

    http_request *r = CONTAINER_OF(s->queue.next, http_request, link);
    if (!r->known) {
        s->view.status = LINKS_HTTP_NEW;
        return -1;
    }
    list_remove(&r->link);
    r->queued = false;
    r->worker = sched_current();
    if (r->trail)
        note(r);
    s->taken++;
    s->busy++;
    s->view.queued--;
    s->view.requests++;
    s->view.want = 0;
    r->view.key = key_of(s, r);
    if (s->busy == s->workers) {
        /* Nobody would be left for the others, should this one wait for something. */
        int want = s->view.queued + 1;
        s->view.want = want < HTTP_SPAWN_MAX ? want : HTTP_SPAWN_MAX;
    }
    return (int)r->id;
}

uint32_t links_http_left(links_http_server *ls, int *cut)
{
    http_server *s = server_of(ls);
    for (list *l; (l = list_pop_front(&s->left));) {
        http_request *r = CONTAINER_OF(l, http_request, link);
        if (!r->worker)
            continue;
        *cut = r->view.cut;
        return sched_id(r->worker);
    }
    return 0;
}

void links_http_worker(links_http_server *ls, int change, int busy)
{
    http_server *s = server_of(ls);
    s->workers += change;
    s->busy -= busy;
}

/* The end of a turn: what is still queued was kept by workers that wait for something else. */
static void on_turn_end(net_hook *hook)
{
    http_server *s = CONTAINER_OF(hook, http_server, hook);
    s->turn++;
    s->taken = 0;
    list_move_all(&s->queue, &s->later);
    if (list_empty(&s->queue))
        return;
    for (int n = s->view.queued; n > 0 && waitq_wake_one(&s->idle, 0); n--)
        ;
    ev_loop_again(s->net->loop);
}

/* --- connections --------------------------------------------------------------------------- */

void http_server_ref(http_server *s)
{
    if (!s->referenced)
        ev_ref(s->net->loop);
    s->referenced = true;
}

static void unref(http_server *s)
{
    if (s->referenced)
        ev_unref(s->net->loop);
    s->referenced = false;
}

void http_server_forget(http_server *s)
{
    s->view.connections--;
    if (!s->stopped) {
        if (s->view.connections == s->options.max_connections - 1)
            http_server_pause(s, false);
    } else if (!s->view.connections) {
        waitq_wake_all(&s->drained, 0);
        waitq_wake_all(&s->idle, 0);
        ev_loop_again(s->net->loop); /* this may be after the run step */
        unref(s);
    }
}

static void guest_left(guest *g)
{
    http_server *s = g->server;
    s->view.upgraded--;
    http_server_forget(s);
}

void http_server_welcome(http_server *s, guest *g)
{
    g->server = s;
    g->left = guest_left;
    list_push_back(&s->guests, &g->link);
    s->view.upgraded++;
}

const char *http_server_common(http_server *s, int *len)
{
    int64_t now = time(NULL);
    if (now != s->common_s) {
        s->common_s = now;
        size_t n = 0;
        if (s->server_header)
            n = (size_t)snprintf(s->common, sizeof(s->common), "Server: %s\r\n", s->server_header);
        if (s->options.date_header) {
            char date[HTTP_DATE_SIZE];
            http_put_date(date, now);
            n += (size_t)snprintf(s->common + n, sizeof(s->common) - n, "Date: %s\r\n", date);
        }
        s->common_len = (int)n;
    }
    *len = s->common_len;
    return s->common;
}

/* --- open and close ------------------------------------------------------------------------ */

static int shortest(const links_http_options *o)
{
    const int all[] = {o->header_timeout, o->body_timeout, o->keep_alive_timeout, o->write_timeout,
                       o->handler_timeout};
    int min = 60000;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i] > 0 && all[i] < min)
            min = all[i];
    return min;
}

/* http-parser has one limit for the whole process: let it be that of the most generous server. Each
 * has limits of its own (head.c). */
static void allow_heads_of(uint32_t size)
{
    static uint32_t max = HTTP_MAX_HEADER_SIZE;
    if (size <= max)
        return;
    max = size;
    http_parser_set_max_header_size(max);
}

links_http_server *links_http_open(const links_http_options *options)
{
    /* Room for it, and for the date. */
    if (options->server_header && strlen(options->server_header) > HTTP_COMMON_MAX - 64)
        return NULL;

    http_server *s = mem_new(http_server);
    s->options = *options;
    s->limits = (http_limits){
        .request_line = (uint32_t)options->max_request_line,
        .header_size = (uint32_t)options->max_header_size,
        .header_count = (uint32_t)options->max_headers,
    };
    allow_heads_of(s->limits.request_line + s->limits.header_size + 4096);
    s->tick_ms = shortest(options);
    list_init(&s->listeners);
    list_init(&s->conns);
    list_init(&s->guests);
    list_init(&s->queue);
    list_init(&s->later);
    list_init(&s->left);
    list_init(&s->visitors);
    list_init(&s->asked);
    waitq_init(&s->idle);
    waitq_init(&s->door);
    waitq_init(&s->drained);
    if (options->server_header)
        s->server_header = strdup(options->server_header);
    s->options.server_header = NULL;
    s->net = net_open(sched_loop());
    net_hook_start(s->net, &s->hook, on_turn_end);
    return &s->view;
}

void links_http_set_tls(links_http_server *ls, links_tls_context *context, int plain)
{
    http_server *s = server_of(ls);
    s->tls = tls_context_ref(tls_context_of(context));
    s->plain = plain;
}

void links_http_stop(links_http_server *ls, int grace_ms)
{
    http_server *s = server_of(ls);
    if (s->stopped)
        return;
    /* Who has connected just now may still be answered: his queue goes with the listener. */
    if (grace_ms > 0)
        http_server_empty_queues(s);
    s->stopped = true;
    s->grace_ms = grace_ms;
    http_server_stop_listeners(s);
    http_server_drop_visitors(s);
    for (list *l = s->conns.next, *next; l != &s->conns; l = next) {
        next = l->next;
        http_conn_retire(CONTAINER_OF(l, http_conn, link));
    }
    for (list *l = s->guests.next, *next; l != &s->guests; l = next) {
        next = l->next;
        guest *g = CONTAINER_OF(l, guest, link);
        g->retire(g);
    }
    if (!s->view.connections) {
        waitq_wake_all(&s->idle, 0);
        unref(s);
    }
}

int links_http_drained(links_http_server *ls, double timeout_ms)
{
    http_server *s = server_of(ls);
    if (!s->view.connections)
        return 0;
    return sched_park(&s->drained, (int64_t)timeout_ms, SCHED_IO, "http close");
}

void links_http_abort(links_http_server *ls)
{
    http_server *s = server_of(ls);
    for (list *l = s->conns.next, *next; l != &s->conns; l = next) {
        next = l->next;
        http_conn_abort(CONTAINER_OF(l, http_conn, link), LINKS_CLOSED);
    }
    for (list *l = s->guests.next, *next; l != &s->guests; l = next) {
        next = l->next;
        guest *g = CONTAINER_OF(l, guest, link);
        g->abort(g);
    }
}

static void release(ev_release *release)
{
    http_server *s = CONTAINER_OF(release, http_server, release);
    while (s->free_requests) {
        http_request *r = s->free_requests;
        s->free_requests = r->next_free;
        mem_free(r);
    }
    http_server_free_listeners(s);
    http_server_free_visitors(s);
    net_close(s->net);
    mem_free(s->trusted);
    tls_context_unref(s->tls);
    mem_free(s->generations);
    mem_free(s->free_ids);
    free(s->server_header);
    mem_free(s);
}

void links_http_free(links_http_server *ls)
{
    http_server *s = server_of(ls);
    if (s->freed)
        return;
    s->freed = true;
    links_http_stop(ls, 0);
    links_http_abort(ls);
    /* What is left has a request with a worker who will never come back. */
    for (list *l = s->conns.next, *next; l != &s->conns; l = next) {
        next = l->next;
        http_conn_broken(CONTAINER_OF(l, http_conn, link)->req);
    }
    net_hook_stop(&s->hook);
    /* Now, and not at the end of the turn: at the end of the process logs are closed before. */
    links_http_access_server(ls, NULL);
    unref(s);
    ev_release_later(s->net->loop, &s->release, release);
}

/* --- reading a request ---------------------------------------------------------------------- */

const char *links_http_method(int method)
{
    return method >= 0 && method <= HTTP_SOURCE ? http_method_str(method) : NULL;
}

/* The target without scheme and authority, which only the absolute form has. */
static const char *target(const links_http_req *r, const char **end)
{
    const char *url = r->url;
    *end = url + r->url_len;
    if (*url == '/' || *url == '*')
        return url;
    const char *at = (const char *)memchr(url, ':', r->url_len) + 3;
    while (at < *end && *at != '/' && *at != '?')
        at++;
    return at;
}

const char *links_http_path(const links_http_req *r, int *len)
{
    const char *end, *at = target(r, &end);
    const char *query = memchr(at, '?', (size_t)(end - at));
    if (at == end || *at == '?') {
        *len = 1;
        return "/";
    }
    *len = (int)((query ? query : end) - at);
    return at;
}

const char *links_http_query(const links_http_req *r, int *len)
{
    const char *end, *at = target(r, &end);
    const char *query = memchr(at, '?', (size_t)(end - at));
    *len = query ? (int)(end - query - 1) : -1;
    return query ? query + 1 : NULL;
}

int links_http_find(const links_http_req *lr, const char *name, size_t len, int after)
{
    const http_request *r = req_of(lr);
    return http_head_find(&r->head, http_request_base(r), name, len, after);
}

const char *links_http_field_name(const links_http_req *lr, int index, int *len)
{
    const http_request *r = req_of(lr);
    *len = (int)r->head.fields[index].name_len;
    return http_request_base(r) + r->head.fields[index].name;
}

const char *links_http_field_value(const links_http_req *lr, int index, int *len)
{
    const http_request *r = req_of(lr);
    *len = (int)r->head.fields[index].value_len;
    return http_request_base(r) + r->head.fields[index].value;
}

links_tls *links_http_tls(const links_http_req *lr)
{
    return tls_of_stream(&req_of(lr)->conn->stream);
}

int links_http_read(links_http_req *lr, size_t max, const char **data)
{
    return (int)http_conn_body((http_request *)lr, max ? max : 1, data);
}
