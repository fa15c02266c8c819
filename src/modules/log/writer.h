/*
 * What writes the lines of a sink: a ring that the loop's thread puts them into, and a thread that
 * takes them out. It outlives its sink for as long as it has something to write.
 */
#ifndef LINKS_MODULES_LOG_WRITER_H
#define LINKS_MODULES_LOG_WRITER_H

#include "ev/ev.h"
#include "line.h"
#include "ring.h"
#include "target.h"

enum {
    LOG_RETRY_MS = 1000,   /* after a failure */
    LOG_CLOSE_MS = 1000,   /* for all of them, at the end of the process */
    LOG_WRITERS_MAX = 64,  /* at a time */
    LOG_PREFIX = 4,        /* bytes before a line that is a datagram: its length and level */
    LOG_STACK = 128 << 10, /* bytes of a thread's stack */
};

typedef struct log_writer_thread log_writer_thread;

typedef struct log_writer {
    ring ring;
    links_log_options options; /* without its path */
    log_target *target;        /* NULL: none, and no thread; others take the lines */
    log_writer_thread *thread;
    uint64_t asked; /* flushes; of the loop's thread */
    int slot;

    /* Shared; atomic. */
    uint64_t dropped, bytes;
    int error;
    int awake;         /* the thread has been told, and has not looked yet */
    int reopen;        /* asked for */
    int listening;     /* the async is waited for */
    uint64_t flush_at; /* the last flush asked for, */
    uint64_t flushed;  /* and the last one done */
    uint64_t writing;  /* bytes before this position of the ring are being written */

    uint64_t reported; /* of `dropped`, a line has told of */
    log_line line;     /* for its own lines, and for datagrams that lie in two pieces */
} log_writer;

/* Starts one: 0, -errno of a file that cannot be opened or a thread that cannot be made, -EMFILE
 * beyond LOG_WRITERS_MAX. `async` is sent where somebody listens and it has moved on. */
int log_writer_open(log_writer **writer, const links_log_options *options, ev_async *async);

/* Lets go of it: no send comes after this. What it holds is written yet; then it frees itself. */
void log_writer_close(log_writer *w);

/* Puts a line into the ring: false where there is no room. */
bool log_writer_put(log_writer *w, const log_line *l, int level);

/* Has the thread look at what there is to do; where it has none, does it. */
void log_writer_wake(log_writer *w);

/* The next send of the async is wanted. Look again at what it would tell, afterwards. */
void log_writer_listen(log_writer *w);

void log_writer_count_dropped(log_writer *w, uint64_t n);

/* Makes `w->line` the one that tells of dropped lines; false where there are none to tell of. */
bool log_writer_make_report(log_writer *w);

/* The bytes of a line as a datagram: without its line end, but for journald's. */
size_t log_writer_sent_len(const log_writer *w, const log_line *l);

/* How long log_close and links_log_drain wait at most: LOG_CLOSE_MS, but in tests, on a machine
 * where a thread may have to wait longer than that for its turn. */
extern int log_close_ms;

/* Ends all: what they hold is written, as far as it can be in a second. For the end of the process,
 * before its loop is freed. */
void log_close(void);

#endif
