#include "modules/work.h"

#include <errno.h>

enum { WORK_NEW, WORK_WAITING, WORK_SUBMITTED, WORK_OVER };

static struct {
    list waiting;
    int nwaiting;
    int submitted; /* in the pool, queued or running: when one is over, there is room again */
    ev_timer retry;
    int64_t stuck_ms; /* nothing of ours has got into the pool since then */
} works;

static int submit(work *w);

static void end(work *w, int result)
{
    w->state = WORK_OVER;
    w->result = result;
    if (w->ops->over)
        w->ops->over(w);
    if (w->owned)
        waitq_wake_all(&w->waiters, 0);
    else
        w->ops->free(w);
}

static work *take_waiting(void)
{
    list *node = works.nwaiting ? list_pop_front(&works.waiting) : NULL;
    if (!node)
        return NULL;
    if (--works.nwaiting == 0)
        ev_unref(sched_loop());
    return CONTAINER_OF(node, work, link);
}

static void put_waiting(work *w, bool first)
{
    if (!works.waiting.next)
        list_init(&works.waiting);
    if (works.nwaiting++ == 0)
        ev_ref(sched_loop());
    w->state = WORK_WAITING;
    if (first)
        list_push_front(&works.waiting, &w->link);
    else
        list_push_back(&works.waiting, &w->link);
}

/* Moves what waits into the pool, as far as there is room. */
static void feed(void)
{
    work *w;
    while ((w = take_waiting())) {
        int rc = submit(w);
        if (rc == -EAGAIN) {
            put_waiting(w, true);
            return;
        }
        if (rc < 0)
            end(w, rc);
    }
}

static void on_retry(ev_loop *loop, ev_timer *timer)
{
    feed();
    if (!works.nwaiting || works.submitted)
        return;
    if (ev_now_ms(loop) - works.stuck_ms >= WORK_GIVE_UP_MS) {
        work *w;
        while ((w = take_waiting()))
            end(w, LINKS_POOL_FULL);
        return;
    }
    ev_timer_start(loop, timer, WORK_RETRY_MS, 0);
}

/* Where none of ours is in the pool, nothing tells when there is room in it. */
static void retry_later(void)
{
    if (works.submitted || !works.nwaiting)
        return;
    if (!works.retry.cb)
        ev_timer_init(&works.retry, on_retry);
    if (ev_timer_active(&works.retry))
        return;
    works.stuck_ms = ev_now_ms(sched_loop());
    ev_timer_start(sched_loop(), &works.retry, WORK_RETRY_MS, 0);
}

static void on_run(ev_work *ev)
{
    work *w = CONTAINER_OF(ev, work, ev);
    w->ops->run(w);
}

static void on_done(ev_loop *loop, ev_work *ev)
{
    (void)loop;
    works.submitted--;
    end(CONTAINER_OF(ev, work, ev), ev->result);
    feed();
    retry_later();
}

static int submit(work *w)
{
    int rc = ev_work_submit(sched_loop(), &w->ev, on_run, on_done);
    if (rc == 0) {
        works.submitted++;
        w->state = WORK_SUBMITTED;
    }
    return rc;
}

void work_init(work *w, const work_ops *ops)
{
    *w = (work){.ops = ops, .state = WORK_NEW};
    list_init(&w->link);
    waitq_init(&w->waiters);
}

int work_start(work *w)
{
    int rc = works.nwaiting ? -EAGAIN : submit(w);
    if (rc == -EAGAIN) {
        if (works.nwaiting >= WORK_MAX_WAITING)
            return LINKS_POOL_FULL;
        put_waiting(w, false);
        retry_later();
        rc = 0;
    }
    if (rc == 0)
        w->owned = true;
    return rc;
}

bool work_is_over(const work *w) { return w->state == WORK_OVER; }

int work_wait(work *w, const char *what)
{
    if (w->state == WORK_OVER)
        return w->result;
    return sched_park(&w->waiters, 0, SCHED_IO, what);
}

void work_leave(work *w)
{
    w->owned = false;
    waitq_wake_all(&w->waiters, LINKS_CLOSED);
    switch (w->state) {
    case WORK_WAITING:
        list_remove(&w->link);
        if (--works.nwaiting == 0)
            ev_unref(sched_loop());
        end(w, -ECANCELED);
        break;
    case WORK_SUBMITTED:
        /* Freed by `done`, which comes in any case. */
        __atomic_store_n(&w->left, true, __ATOMIC_RELAXED);
        ev_work_cancel(sched_loop(), &w->ev);
        break;
    default:
        w->ops->free(w);
    }
}

bool work_is_left(const work *w) { return __atomic_load_n(&w->left, __ATOMIC_RELAXED); }

void work_close(void)
{
    work *w;
    while ((w = take_waiting()))
        end(w, -ECANCELED);
    if (works.retry.cb)
        ev_timer_stop(sched_loop(), &works.retry);
}
