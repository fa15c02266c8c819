/*
 * Wake-ups from other threads. A send marks the watcher and wakes the loop; marks that are there
 * already are left alone, so a thousand sends cost one system call.
 *
 * The order is what makes it lossless: a sender marks its watcher and then asks whether the loop
 * has been woken; the loop forgets that it has been woken and then looks at the marks.
 */
#include "loop.h"

void asyncs_init(ev_loop *loop) { list_init(&loop->asyncs); }

void ev_async_start(ev_loop *loop, ev_async *async, void (*cb)(ev_loop *loop, ev_async *async))
{
    async->cb = cb;
    async->loop = loop;
    __atomic_store_n(&async->pending, 0, __ATOMIC_SEQ_CST);
    list_push_back(&loop->asyncs, &async->link);
}

void ev_async_stop(ev_loop *loop, ev_async *async)
{
    (void)loop;
    if (loop_linked(&async->link))
        list_remove(&async->link);
}

void ev_async_send(ev_async *async)
{
    if (!__atomic_exchange_n(&async->pending, 1, __ATOMIC_SEQ_CST))
        loop_wake(async->loop);
}

/* Each goes back on the loop's list before its callback, so callbacks may stop any of them. */
void asyncs_dispatch(ev_loop *loop)
{
    list all;
    list_init(&all);
    list_move_all(&all, &loop->asyncs);
    for (list *node; (node = list_pop_front(&all));) {
        ev_async *async = CONTAINER_OF(node, ev_async, link);
        list_push_back(&loop->asyncs, node);
        if (__atomic_exchange_n(&async->pending, 0, __ATOMIC_SEQ_CST))
            async->cb(loop, async);
    }
}
