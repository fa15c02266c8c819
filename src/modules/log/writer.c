#include "modules/log/writer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "crash.h"

struct log_writer_thread {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    ev_async *async; /* NULL: nobody is to be told any more */
    bool closing;
    int64_t end_ns; /* when closing: until then it tries */
};

/* All that are open, and those that write their last. */
static struct {
    pthread_mutex_t lock;
    log_writer *writers[LOG_WRITERS_MAX];
    int count;
    bool at_exit;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int64_t clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static uint64_t load(const uint64_t *n) { return __atomic_load_n(n, __ATOMIC_ACQUIRE); }

static uint64_t dropped_by_all;

double links_log_dropped(void)
{
    return (double)__atomic_load_n(&dropped_by_all, __ATOMIC_RELAXED);
}

void log_writer_count_dropped(log_writer *w, uint64_t n)
{
    __atomic_fetch_add(&w->dropped, n, __ATOMIC_RELAXED);
    __atomic_fetch_add(&dropped_by_all, n, __ATOMIC_RELAXED);
}

/* --- writing ------------------------------------------------------------------------------- */

static void tell(log_writer *w)
{
    /* What it is told of must be there before it is asked whether anybody wants to know. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&w->listening, __ATOMIC_SEQ_CST))
        return;
    pthread_mutex_lock(&w->thread->lock);
    if (w->thread->async)
        ev_async_send(w->thread->async);
    pthread_mutex_unlock(&w->thread->lock);
}

/* One datagram: the bytes of the ring that it takes, or -errno. */
static ssize_t send_one(log_writer *w, const struct iovec iov[2])
{
    uint32_t prefix;
    ring_copy(&w->ring, 0, &prefix, LOG_PREFIX);
    size_t len = prefix & 0xffffff;
    const char *data = (const char *)iov[0].iov_base + LOG_PREFIX;
    if (iov[0].iov_len < LOG_PREFIX + len) {
        ring_copy(&w->ring, LOG_PREFIX, w->line.buffer, len);
        data = w->line.buffer;
    }
    int rc = w->target->ops->send(w->target, data, len);
    if (rc == -EMSGSIZE)
        log_writer_count_dropped(w, 1);
    else if (rc < 0)
        return rc;
    return (ssize_t)(LOG_PREFIX + len);
}

/* Writes what is there: 0, or why not all of it. */
static int drain(log_writer *w)
{
    struct iovec iov[2];
    size_t len;
    while ((len = ring_peek(&w->ring, iov))) {
        ssize_t n;
        __atomic_store_n(&w->writing, w->ring.tail + len, __ATOMIC_RELAXED);
        if (w->target->framed)
            n = send_one(w, iov);
        else
            n = w->target->ops->write(w->target, iov, len);
        __atomic_store_n(&w->writing, w->ring.tail + (n > 0 ? (uint64_t)n : 0), __ATOMIC_RELAXED);
        if (n < 0)
            return (int)n;
        ring_skip(&w->ring, (size_t)n);
        __atomic_fetch_add(&w->bytes, (uint64_t)n, __ATOMIC_RELAXED);
        tell(w);
    }
    return 0;
}

bool log_writer_make_report(log_writer *w)
{
    static const char message[] = "lines were dropped: this log could not take them";
    uint64_t dropped = load(&w->dropped), lost = dropped - w->reported;
    links_log_line *line = &w->line.view;
    if (!lost)
        return false;
    links_log_begin(line, w->options.format, w->options.flags, LINKS_LOG_WARN, "log", 3, message,
                    sizeof(message) - 1);
    links_log_key(line, "dropped", 7);
    links_log_number(line, (double)lost);
    links_log_end(line, 0);
    w->reported = dropped;
    return true;
}

size_t log_writer_sent_len(const log_writer *w, const log_line *l)
{
    return w->options.format == LINKS_LOG_JOURNAL ? l->view.len : l->view.len - 1;
}

/* Tells of lost lines: 0, or why it cannot be told yet. */
static int report_dropped(log_writer *w)
{
    uint64_t before = w->reported;
    if (!log_writer_make_report(w))
        return 0;
    ssize_t n = 0;
    if (w->target->framed)
        n = w->target->ops->send(w->target, w->line.buffer, log_writer_sent_len(w, &w->line));
    for (size_t at = 0; !w->target->framed && n >= 0 && at < w->line.view.len; at += (size_t)n) {
        size_t left = w->line.view.len - at;
        n = w->target->ops->write(w->target, (struct iovec[2]){{w->line.buffer + at, left}}, left);
        if (n < 0 && at)
            return 0; /* its beginning is there: not again */
    }
    if (n < 0 && n != -EMSGSIZE) {
        w->reported = before;
        return (int)n;
    }
    return 0;
}

static int reopen(log_writer *w)
{
    if (!__atomic_exchange_n(&w->reopen, 0, __ATOMIC_SEQ_CST) || !w->target->ops->reopen)
        return 0;
    int rc = w->target->ops->reopen(w->target);
    if (rc < 0)
        __atomic_store_n(&w->reopen, 1, __ATOMIC_SEQ_CST); /* again, when it is tried again */
    return rc;
}

/* One look at everything that there is to do: 0, -EAGAIN where a reader is slow, -errno. */
static int serve(log_writer *w)
{
    uint64_t flush = load(&w->flush_at);
    int rc = drain(w), reopened = rc == -EAGAIN ? 0 : reopen(w);
    if (rc == 0)
        rc = report_dropped(w);
    if (rc == 0)
        rc = reopened;
    __atomic_store_n(&w->error, rc == -EAGAIN ? 0 : rc, __ATOMIC_RELAXED);
    if (rc != -EAGAIN && flush != w->flushed) {
        __atomic_store_n(&w->flushed, flush, __ATOMIC_RELEASE);
        tell(w);
    }
    return rc;
}

/* --- the thread ---------------------------------------------------------------------------- */

static struct timespec after_ms(int ms)
{
    int64_t ns = clock_ns() + ms * 1000000ll;
    return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

/* Sleeps until there is something to do. True when what it does then is the last. */
static bool await(log_writer *w, int last)
{
    log_writer_thread *t = w->thread;
    pthread_mutex_lock(&t->lock);
    struct timespec retry = after_ms(LOG_RETRY_MS);
    while (last != -EAGAIN && !t->closing && !__atomic_load_n(&w->awake, __ATOMIC_SEQ_CST)) {
        if (last == 0)
            pthread_cond_wait(&t->wake, &t->lock);
        else if (pthread_cond_timedwait(&t->wake, &t->lock, &retry) == ETIMEDOUT)
            break;
    }
    __atomic_store_n(&w->awake, 0, __ATOMIC_SEQ_CST);
    bool closing = t->closing;
    pthread_mutex_unlock(&t->lock);
    return closing;
}

/* A slow reader has until the end of the process. */
static bool out_of_time(log_writer *w)
{
    pthread_mutex_lock(&w->thread->lock);
    bool out = clock_ns() >= w->thread->end_ns;
    pthread_mutex_unlock(&w->thread->lock);
    return out;
}

static void writer_free(log_writer *w)
{
    if (w->target)
        w->target->ops->close(w->target);
    pthread_mutex_destroy(&w->thread->lock);
    pthread_cond_destroy(&w->thread->wake);
    mem_free(w->thread);
    ring_deinit(&w->ring);
    mem_free(w);
}

static void leave_all(log_writer *w)
{
    pthread_mutex_lock(&all.lock);
    all.writers[w->slot] = NULL;
    all.count--;
    crash_forget(w->slot);
    pthread_mutex_unlock(&all.lock);
}

static void *thread_main(void *arg)
{
    log_writer *w = arg;
    int rc = 0;
    for (bool last = false; !last;) {
        bool closing = await(w, rc);
        rc = serve(w);
        last = closing && (rc != -EAGAIN || out_of_time(w));
    }
    leave_all(w);
    writer_free(w);
    return NULL;
}

/* Signals are for the loop's thread; and so a broken pipe is an error here, and no more. */
static int start_thread(log_writer *w)
{
    sigset_t blocked, former;
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, LOG_STACK);
    sigfillset(&blocked);
    pthread_sigmask(SIG_SETMASK, &blocked, &former);
    int rc = pthread_create(&thread, &attr, thread_main, w);
    pthread_sigmask(SIG_SETMASK, &former, NULL);
    pthread_attr_destroy(&attr);
    return -rc;
}

/* --- the loop's side ----------------------------------------------------------------------- */

bool log_writer_put(log_writer *w, const log_line *l, int level)
{
    if (w->target && !w->target->framed)
        return ring_put(&w->ring, l->buffer, l->view.len, NULL, 0);
    size_t len = log_writer_sent_len(w, l);
    uint32_t prefix = (uint32_t)len | (uint32_t)level << 24;
    return ring_put(&w->ring, &prefix, LOG_PREFIX, l->buffer, len);
}

void log_writer_wake(log_writer *w)
{
    if (!w->target)
        return;
    if (w->options.sync) {
        serve(w);
        return;
    }
    if (__atomic_exchange_n(&w->awake, 1, __ATOMIC_SEQ_CST))
        return;
    pthread_mutex_lock(&w->thread->lock);
    pthread_cond_signal(&w->thread->wake);
    pthread_mutex_unlock(&w->thread->lock);
}

void log_writer_listen(log_writer *w)
{
    __atomic_store_n(&w->listening, 1, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* --- open and close ------------------------------------------------------------------------ */

static int open_target(log_writer *w, const links_log_options *o)
{
    int error = 0;
    if (o->kind == LINKS_LOG_TO_FD)
        w->target = log_target_fd(o->port);
    else if (o->kind == LINKS_LOG_TO_FILE)
        w->target = log_target_file(o, &error);
    else if (o->kind != LINKS_LOG_TO_QUEUE)
        w->target = log_target_socket(o);
    return error;
}

static int join_all(log_writer *w)
{
    pthread_mutex_lock(&all.lock);
    int slot = 0;
    while (slot < LOG_WRITERS_MAX && all.writers[slot])
        slot++;
    if (slot < LOG_WRITERS_MAX) {
        w->slot = slot;
        all.writers[slot] = w;
        all.count++;
        if (!w->target->framed)
            crash_watch(slot, &w->ring, &w->writing, &w->target->fd);
        if (!all.at_exit)
            atexit(links_log_drain); /* for os.exit, which does not come back to main */
        all.at_exit = true;
    }
    pthread_mutex_unlock(&all.lock);
    return slot < LOG_WRITERS_MAX ? 0 : -EMFILE;
}

static int go(log_writer *w)
{
    if (!w->target)
        return 0;
    int rc = join_all(w);
    if (rc < 0 || w->options.sync)
        return rc;
    rc = start_thread(w);
    if (rc < 0)
        leave_all(w);
    return rc;
}

int log_writer_open(log_writer **writer, const links_log_options *options, ev_async *async)
{
    log_writer *w = mem_new(log_writer);
    w->options = *options;
    w->options.path = NULL;
    w->thread = mem_new(log_writer_thread);
    w->thread->async = async;
    w->thread->end_ns = INT64_MAX;
    pthread_mutex_init(&w->thread->lock, NULL);
    pthread_cond_init(&w->thread->wake, NULL);
    ring_init(&w->ring, (size_t)options->buffer_size);
    log_line_init(&w->line);

    int rc = open_target(w, options);
    if (rc == 0)
        rc = go(w);
    if (rc < 0) {
        writer_free(w);
        return rc;
    }
    *writer = w;
    return 0;
}

static void ask_to_end(log_writer *w, int64_t end_ns)
{
    pthread_mutex_lock(&w->thread->lock);
    w->thread->async = NULL;
    w->thread->closing = true;
    w->thread->end_ns = end_ns;
    pthread_cond_signal(&w->thread->wake);
    pthread_mutex_unlock(&w->thread->lock);
}

void log_writer_close(log_writer *w)
{
    bool threaded = w->target && !w->options.sync;
    if (threaded) {
        ask_to_end(w, INT64_MAX);
        return; /* the thread frees it when all is written */
    }
    if (w->target)
        leave_all(w);
    writer_free(w);
}

/* --- the end of the process ---------------------------------------------------------------- */

static void nap(void) { nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL); }

/* How many have not yet written what was there when they were asked to. */
static int unflushed(bool ask)
{
    int left = 0;
    pthread_mutex_lock(&all.lock);
    for (int i = 0; i < LOG_WRITERS_MAX; i++) {
        log_writer *w = all.writers[i];
        if (!w || w->options.sync)
            continue;
        if (ask) {
            __atomic_store_n(&w->flush_at, ++w->asked, __ATOMIC_RELEASE);
            log_writer_wake(w);
        }
        left += load(&w->flushed) != w->asked;
    }
    pthread_mutex_unlock(&all.lock);
    return left;
}

int log_close_ms = LOG_CLOSE_MS;

void links_log_drain(void)
{
    int64_t until = clock_ns() + log_close_ms * 1000000ll;
    for (int left = unflushed(true); left && clock_ns() < until; left = unflushed(false))
        nap();
}

static int end_all(int64_t until)
{
    pthread_mutex_lock(&all.lock);
    int left = 0;
    for (int i = 0; i < LOG_WRITERS_MAX; i++) {
        log_writer *w = all.writers[i];
        if (!w || w->options.sync)
            continue;
        ask_to_end(w, until);
        left++;
    }
    pthread_mutex_unlock(&all.lock);
    return left;
}

void log_close(void)
{
    int64_t until = clock_ns() + log_close_ms * 1000000ll;
    while (end_all(until) && clock_ns() < until)
        nap();
}
