/*
 * A sink as loggers and access logs use it, and its part in the loop. Whoever logs never waits for
 * a disk or a reader: what the ring has no room for is dropped and counted, and a line tells of it
 * as soon as lines get through again. The writer is woken when the ring is half full, when the
 * flush interval is over, and at once for errors.
 */
#ifndef LINKS_MODULES_LOG_SINK_H
#define LINKS_MODULES_LOG_SINK_H

#include "line.h"

typedef struct log_sink log_sink;

static inline log_sink *log_sink_of(links_log_sink *s) { return (log_sink *)s; }

/* As links_log_put, but never waits. */
void log_sink_put(log_sink *s, const log_line *l, int level);

log_sink *log_sink_retain(log_sink *s);
void log_sink_release(log_sink *s);

#endif
