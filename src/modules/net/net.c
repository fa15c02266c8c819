#include "net.h"

#include "base/mem.h"
#include "stream.h"

enum { TRIM_INTERVAL_MS = 1000 };

/* The nets of this thread's loops. A loop has no room for what hangs off it, and there is one per
 * thread outside of tests. */
static _Thread_local net *nets;

static void on_flush(ev_loop *loop, void *arg)
{
    net *n = arg;
    list *next;

    for (list *l = n->hooks.next; l != &n->hooks; l = next) {
        net_hook *hook = CONTAINER_OF(l, net_hook, link);
        next = l->next;
        hook->fn(hook);
    }

    /* What is dirtied while we write (a response to what a drained stream let go on) belongs to
     * the next turn, or one fast peer could keep us here. */
    list dirty;
    list_init(&dirty);
    list_move_all(&dirty, &n->dirty);
    stream_flush_all(&dirty);
    if (!list_empty(&n->dirty))
        ev_loop_again(loop);

    if (ev_now_ms(loop) - n->trimmed_ms >= TRIM_INTERVAL_MS) {
        n->trimmed_ms = ev_now_ms(loop);
        chunk_pool_trim(&n->chunks);
    }
}

net *net_open(ev_loop *loop)
{
    net *n;
    for (n = nets; n; n = n->next) {
        if (n->loop == loop) {
            n->users++;
            return n;
        }
    }
    n = mem_new(net);
    n->loop = loop;
    n->users = 1;
    n->trimmed_ms = ev_now_ms(loop);
    list_init(&n->dirty);
    list_init(&n->hooks);
    list_init(&n->orphans);
    chunk_pool_init(&n->chunks);
    n->next = nets;
    nets = n;
    ev_loop_on_flush(loop, on_flush, n);
    return n;
}

void net_close(net *n)
{
    if (--n->users > 0)
        return;
    for (list *l; (l = list_pop_front(&n->orphans));) {
        net_orphan *orphan = CONTAINER_OF(l, net_orphan, link);
        orphan->end(orphan);
    }
    ev_loop_on_flush(n->loop, NULL, NULL);
    for (net **at = &nets; *at; at = &(*at)->next) {
        if (*at == n) {
            *at = n->next;
            break;
        }
    }
    mem_free(n->scratch);
    chunk_put(&n->chunks, n->lent);
    chunk_pool_deinit(&n->chunks);
    mem_free(n);
}

void guest_leave(guest *g)
{
    if (!g->server)
        return;
    list_remove(&g->link);
    g->left(g);
    g->server = NULL;
}

void net_hook_start(net *n, net_hook *hook, void (*fn)(net_hook *hook))
{
    hook->fn = fn;
    list_push_back(&n->hooks, &hook->link);
}

void net_hook_stop(net_hook *hook) { list_remove(&hook->link); }

char *net_scratch(net *n)
{
    if (!n->scratch)
        n->scratch = mem_alloc(NET_SCRATCH);
    return n->scratch;
}

void net_lend(net *n, chunk *c)
{
    chunk_put(&n->chunks, n->lent);
    n->lent = c;
}
