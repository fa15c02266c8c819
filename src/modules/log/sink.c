#include "modules/log/sink.h"

#include <unistd.h>

#include "base/mem.h"
#include "lua/sched.h"
#include "writer.h"

struct log_sink {
    links_log_sink view; /* first: Lua's pointer is ours */
    log_writer *writer;
    int refs;
    ev_timer timer; /* the flush interval; started by the first line */
    ev_async async; /* the writer has moved on */
    waitq room;     /* who waits for room in the ring, */
    waitq flushers; /* for a flush, */
    waitq takers;   /* for a line of a queue */
    char *taken;    /* what links_log_take has returned */
    bool closed;    /* only the taker of a queue is left */
};

static log_sink *sink_of(links_log_sink *s) { return (log_sink *)s; }

/* --- lines --------------------------------------------------------------------------------- */

/* Wakes in any step of the turn: after the run step, the loop would sleep on what is ready. */
static void wake_all(waitq *q, int status)
{
    if (waitq_wake_all(q, status))
        ev_loop_again(sched_loop());
}

static void on_interval(ev_loop *loop, ev_timer *timer)
{
    (void)loop;
    log_writer_wake(CONTAINER_OF(timer, log_sink, timer)->writer);
}

static void on_moved(ev_loop *loop, ev_async *async)
{
    log_sink *s = CONTAINER_OF(async, log_sink, async);
    (void)loop;
    __atomic_store_n(&s->writer->listening, 0, __ATOMIC_SEQ_CST);
    wake_all(&s->room, 0);
    wake_all(&s->flushers, 0);
}

/* Whether it is to be written now. The last look at the ring's tail may be an old one. */
static bool is_urgent(log_writer *w, int level)
{
    ring *r = &w->ring;
    if (level >= LINKS_LOG_ERROR || !w->options.flush_interval || w->options.sync)
        return true;
    if (r->head - r->tail_seen < r->size / 2)
        return false;
    r->tail_seen = __atomic_load_n(&r->tail, __ATOMIC_ACQUIRE);
    return r->head - r->tail_seen >= r->size / 2;
}

static bool put(log_sink *s, const log_line *l, int level)
{
    if (!log_writer_put(s->writer, l, level))
        return false;
    s->view.lines++;
    if (!s->writer->target)
        wake_all(&s->takers, 0);
    else if (is_urgent(s->writer, level))
        log_writer_wake(s->writer);
    else if (!ev_timer_active(&s->timer))
        ev_timer_start(sched_loop(), &s->timer, s->writer->options.flush_interval, 0);
    return true;
}

void log_sink_put(log_sink *s, const log_line *l, int level)
{
    if (!put(s, l, level))
        log_writer_count_dropped(s->writer, 1);
}

/* Where it will fit once others have been written. */
static bool can_wait(const log_sink *s, const log_line *l)
{
    const links_log_options *o = &s->writer->options;
    return o->block && !o->sync && sched_current() &&
           l->view.len + LOG_PREFIX <= s->writer->ring.size;
}

int links_log_put(links_log_sink *ls, const links_log_line *line, int level, int may_wait)
{
    log_sink *s = sink_of(ls);
    const log_line *l = (const log_line *)line;
    if (put(s, l, level))
        return 0;
    if (may_wait && can_wait(s, l)) {
        log_writer_listen(s->writer);
        log_writer_wake(s->writer);
        /* It may have made room before it was listened to. */
        if (put(s, l, level))
            return 0;
        if (sched_park(&s->room, 0, SCHED_IO, "log") == LINKS_AGAIN)
            return LINKS_AGAIN;
    }
    log_writer_count_dropped(s->writer, 1);
    return 1;
}

int links_log_start(links_log_line *line, int how, const char *name, size_t name_len,
                    const char *message, size_t message_len)
{
    links_log_begin(line, how >> 7, how >> 4 & 7, how & 7, name, name_len, message, message_len);
    return sched_is_marked();
}

int links_log_send(links_log_sink *ls, links_log_line *line, int how)
{
    links_log_end(line, how >> 3 & 1);
    return links_log_put(ls, line, how & 7, 1);
}

int links_log_flush(links_log_sink *ls, double *ticket, double timeout_ms)
{
    log_sink *s = sink_of(ls);
    log_writer *w = s->writer;
    if (!w->target || w->options.sync)
        return 0;
    if (!*ticket) {
        *ticket = (double)++w->asked;
        __atomic_store_n(&w->flush_at, w->asked, __ATOMIC_RELEASE);
        log_writer_wake(w);
    }
    log_writer_listen(w);
    if ((double)__atomic_load_n(&w->flushed, __ATOMIC_ACQUIRE) >= *ticket)
        return __atomic_load_n(&w->error, __ATOMIC_RELAXED);
    return sched_park(&s->flushers, (int64_t)timeout_ms, SCHED_IO, "log flush");
}

void links_log_reopen(links_log_sink *ls)
{
    log_writer *w = sink_of(ls)->writer;
    __atomic_store_n(&w->reopen, 1, __ATOMIC_SEQ_CST);
    log_writer_wake(w);
}

void links_log_stats(links_log_sink *ls)
{
    const log_writer *w = sink_of(ls)->writer;
    ls->dropped = (double)__atomic_load_n(&w->dropped, __ATOMIC_RELAXED);
    ls->bytes = (double)__atomic_load_n(&w->bytes, __ATOMIC_RELAXED);
    ls->error = __atomic_load_n(&w->error, __ATOMIC_RELAXED);
}

/* --- queues -------------------------------------------------------------------------------- */

int links_log_take(links_log_sink *ls, const char **data)
{
    log_sink *s = sink_of(ls);
    log_writer *w = s->writer;
    if (ring_used(&w->ring)) {
        uint32_t prefix;
        ring_copy(&w->ring, 0, &prefix, LOG_PREFIX);
        size_t len = prefix & 0xffffff;
        if (!s->taken)
            s->taken = mem_alloc(LOG_LINE_MAX + LOG_LINE_SLACK);
        ring_copy(&w->ring, LOG_PREFIX, s->taken, len);
        ring_skip(&w->ring, LOG_PREFIX + len);
        wake_all(&s->room, 0);
        ls->level = (int32_t)(prefix >> 24);
        *data = s->taken;
        return (int)len;
    }
    if (log_writer_make_report(w)) {
        ls->level = LINKS_LOG_WARN;
        *data = w->line.buffer;
        return (int)log_writer_sent_len(w, &w->line);
    }
    return s->closed ? LINKS_CLOSED : sched_park(&s->takers, 0, 0, "log lines");
}

/* It is not told of through what has lost it. */
void links_log_lost(links_log_sink *ls)
{
    log_writer *w = sink_of(ls)->writer;
    log_writer_count_dropped(w, 1);
    w->reported++;
}

int links_log_left(links_log_sink *ls) { return ring_used(&sink_of(ls)->writer->ring) > 0; }

int links_log_has_locals(void) { return sched_is_marked(); }

/* --- open and close ------------------------------------------------------------------------ */

int links_log_open_sink(links_log_sink **sink, const links_log_options *options)
{
    log_sink *s = mem_new(log_sink);
    int rc = log_writer_open(&s->writer, options, &s->async);
    if (rc < 0) {
        mem_free(s);
        return rc;
    }
    s->refs = 1;
    s->view.tty = options->kind == LINKS_LOG_TO_FD && isatty(options->port);
    if (s->view.tty)
        s->writer->options.flush_interval = 0; /* somebody is looking */
    ev_timer_init(&s->timer, on_interval);
    ev_async_start(sched_loop(), &s->async, on_moved);
    waitq_init(&s->room);
    waitq_init(&s->flushers);
    waitq_init(&s->takers);
    *sink = &s->view;
    return 0;
}

log_sink *log_sink_retain(log_sink *s)
{
    s->refs++;
    return s;
}

void log_sink_release(log_sink *s)
{
    s->refs--;
    if (s->refs == 1 && !s->writer->target) {
        s->closed = true;
        wake_all(&s->takers, 0);
    }
    if (s->refs)
        return;
    wake_all(&s->room, LINKS_CLOSED);
    wake_all(&s->flushers, LINKS_CLOSED);
    wake_all(&s->takers, LINKS_CLOSED);
    ev_timer_stop(sched_loop(), &s->timer);
    log_writer_close(s->writer);
    ev_async_stop(sched_loop(), &s->async);
    mem_free(s->taken);
    mem_free(s);
}

void links_log_retain(links_log_sink *ls) { log_sink_retain(sink_of(ls)); }

void links_log_free_sink(links_log_sink *ls) { log_sink_release(sink_of(ls)); }
