/*
 * The thread pool, for calls that block. One mutex guards two lists, what waits and what is
 * finished; a wake-up tells the loop that the second is not empty.
 *
 * Threads are made when work comes and none is idle, up to LINKS_THREADS, and stay until the loop
 * is freed. They hold no reference on the loop; work that was submitted does, until it is `done`.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/mem.h"
#include "loop.h"

enum { DEFAULT_THREADS = 4, MAX_THREADS = 64 };

enum { IDLE, QUEUED, RUNNING, FINISHED, CANCELED };

struct ev_pool {
    ev_async finished_async;
    int max_threads;
    int threads_len;
    pthread_t threads[MAX_THREADS];

    pthread_mutex_t lock; /* guards what follows, and the state of submitted work */
    pthread_cond_t come;  /* there is work, or the end */
    bool closing;
    int idle; /* threads that wait on `come` */
    int queued;
    list queue;
    list finished;
};

int ev_work_threads(void)
{
    const char *asked = getenv("LINKS_THREADS");
    if (!asked || !*asked)
        return DEFAULT_THREADS;
    char *end;
    errno = 0;
    long n = strtol(asked, &end, 10);
    return errno || *end || n < 1 || n > MAX_THREADS ? -EINVAL : (int)n;
}

/* --- in the threads --------------------------------------------------------------------------- */

/* With the lock held. Only the first finished work has to wake the loop: it takes all of them. */
static void finish(ev_pool *pool, ev_work *work, int state, int result)
{
    bool first = list_empty(&pool->finished);
    work->state = state;
    work->result = result;
    list_push_back(&pool->finished, &work->link);
    if (first)
        ev_async_send(&pool->finished_async);
}

static void *thread_main(void *arg)
{
    ev_pool *pool = arg;
    pthread_mutex_lock(&pool->lock);
    while (!pool->closing) {
        list *node = list_pop_front(&pool->queue);
        if (!node) {
            pool->idle++;
            pthread_cond_wait(&pool->come, &pool->lock);
            pool->idle--;
            continue;
        }
        ev_work *work = CONTAINER_OF(node, ev_work, link);
        pool->queued--;
        work->state = RUNNING;
        pthread_mutex_unlock(&pool->lock);
        work->work(work);
        pthread_mutex_lock(&pool->lock);
        finish(pool, work, FINISHED, 0);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Signals are for the loop's thread: these are born with all of them blocked. */
static int make_thread(ev_pool *pool)
{
    sigset_t all, former;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    int error = pthread_create(&pool->threads[pool->threads_len], NULL, thread_main, pool);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    if (error)
        return -error;
    pool->threads_len++;
    return 0;
}

/* --- in the loop's thread --------------------------------------------------------------------- */

static void take_finished(ev_pool *pool, list *finished)
{
    list_init(finished);
    pthread_mutex_lock(&pool->lock);
    list_move_all(finished, &pool->finished);
    pthread_mutex_unlock(&pool->lock);
}

/* The work is its owner's again before `done` is called, which may free it or submit it anew. */
static void tell_finished(ev_loop *loop)
{
    list finished;
    take_finished(loop->pool, &finished);
    for (list *node; (node = list_pop_front(&finished));) {
        ev_work *work = CONTAINER_OF(node, ev_work, link);
        work->state = IDLE;
        ev_unref(loop);
        work->done(loop, work);
    }
}

static void on_finished(ev_loop *loop, ev_async *async)
{
    (void)async;
    tell_finished(loop);
}

static ev_pool *pool_new(ev_loop *loop, int max_threads)
{
    ev_pool *pool = mem_new(ev_pool);
    pool->max_threads = max_threads;
    list_init(&pool->queue);
    list_init(&pool->finished);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->come, NULL);
    ev_async_start(loop, &pool->finished_async, on_finished);
    return pool;
}

/* `wanting`: work that waits, this one included, and that no idle thread is there for. A failure
 * matters only where there is no thread at all. */
static int provide_thread(ev_pool *pool, bool wanting)
{
    if (pool->threads_len > 0 && (!wanting || pool->threads_len == pool->max_threads))
        return 0;
    int rc = make_thread(pool);
    return pool->threads_len > 0 ? 0 : rc;
}

int ev_work_submit(ev_loop *loop, ev_work *work, void (*fn)(ev_work *work),
                   void (*done)(ev_loop *loop, ev_work *work))
{
    if (!loop->pool) {
        int max_threads = ev_work_threads();
        if (max_threads < 0)
            return max_threads;
        loop->pool = pool_new(loop, max_threads);
    }
    ev_pool *pool = loop->pool;

    pthread_mutex_lock(&pool->lock);
    int rc = 0;
    if (pool->closing)
        rc = -ECANCELED;
    else if (pool->queued == EV_WORK_MAX_QUEUED)
        rc = -EAGAIN;
    else
        rc = provide_thread(pool, pool->queued >= pool->idle);
    if (rc == 0) {
        *work = (ev_work){.work = fn, .done = done, .state = QUEUED};
        list_push_back(&pool->queue, &work->link);
        pool->queued++;
        ev_ref(loop);
        pthread_cond_signal(&pool->come);
    }
    pthread_mutex_unlock(&pool->lock);
    return rc;
}

bool ev_work_cancel(ev_loop *loop, ev_work *work)
{
    ev_pool *pool = loop->pool;
    if (!pool)
        return false;
    pthread_mutex_lock(&pool->lock);
    if (work->state == QUEUED) {
        list_remove(&work->link);
        pool->queued--;
        finish(pool, work, CANCELED, -ECANCELED);
    }
    bool canceled = work->state == CANCELED;
    pthread_mutex_unlock(&pool->lock);
    return canceled;
}

/* What runs is waited for, what waits is canceled, and all are told. */
void pool_deinit(ev_loop *loop)
{
    ev_pool *pool = loop->pool;
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    for (list *node; (node = list_pop_front(&pool->queue));) {
        pool->queued--;
        finish(pool, CONTAINER_OF(node, ev_work, link), CANCELED, -ECANCELED);
    }
    pthread_cond_broadcast(&pool->come);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->threads_len; i++)
        pthread_join(pool->threads[i], NULL);
    tell_finished(loop);

    ev_async_stop(loop, &pool->finished_async);
    pthread_cond_destroy(&pool->come);
    pthread_mutex_destroy(&pool->lock);
    mem_free(pool);
    loop->pool = NULL;
}
