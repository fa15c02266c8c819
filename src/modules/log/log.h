/*
 * The log as Lua calls it (lib/links/log.lua): lines are put together here, escaped, and handed to
 * sinks, whose threads write them. Only links_log_put to a sink that blocks, links_log_flush and
 * links_log_take park.
 */
#ifndef LINKS_MODULES_LOG_LOG_H
#define LINKS_MODULES_LOG_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* --- lines --------------------------------------------------------------------------------- */

enum {
    LINKS_LOG_TEXT,
    LINKS_LOG_JSON,
    LINKS_LOG_JOURNAL, /* journald's native protocol */
};

enum { LINKS_LOG_DEBUG, LINKS_LOG_INFO, LINKS_LOG_WARN, LINKS_LOG_ERROR, LINKS_LOG_FATAL };

enum {
    LINKS_LOG_COLOR = 1,
    LINKS_LOG_SYSLOG = 2, /* a head of RFC 5424 comes first */
};

/* A line that is being put together. Lua reads these fields only. */
typedef struct links_log_line {
    char *data;
    uint32_t len;
    int32_t cut; /* 1: a value was shortened; 2: nothing more fits */
} links_log_line;

LINKS_API links_log_line *links_log_line_new(void);
LINKS_API void links_log_line_free(links_log_line *line);

/* Begins a line: time, level, the logger's name (len 0: none) and the message. */
LINKS_API void links_log_begin(links_log_line *line, int format, int flags, int level,
                               const char *name, size_t name_len, const char *message,
                               size_t message_len);

/* Begins a piece of a line, to be kept and added to others by links_log_raw. */
LINKS_API void links_log_piece(links_log_line *line, int format);
LINKS_API void links_log_raw(links_log_line *line, const char *piece, size_t len);

/* A field's name, with an underscore behind it where the line itself has one of that name; its
 * value comes next. */
LINKS_API void links_log_field(links_log_line *line, const char *name, size_t len);

/* A field with its value. Code that waits runs interpreted, and there a call costs as much as the
 * work it does. */
LINKS_API void links_log_field_string(links_log_line *line, const char *name, size_t name_len,
                                      const char *s, size_t len);
LINKS_API void links_log_field_number(links_log_line *line, const char *name, size_t name_len,
                                      double n);

/* A name within a value. */
LINKS_API void links_log_key(links_log_line *line, const char *name, size_t len);

/* A value: of a field, or of an array. */
LINKS_API void links_log_string(links_log_line *line, const char *s, size_t len);
LINKS_API void links_log_number(links_log_line *line, double n);
LINKS_API void links_log_word(links_log_line *line, const char *s, size_t len); /* true, null, 7 */

/* An object ('{') or an array ('[') as a value, and its end ('}', ']'). */
LINKS_API void links_log_open(links_log_line *line, int bracket);
LINKS_API void links_log_close(links_log_line *line, int bracket);

/* Bytes as they stand, but for what cannot stand in a line. */
LINKS_API void links_log_text(links_log_line *line, const char *s, size_t len);

/* Ends the line, and keeps it among the last ones where `keep`. */
LINKS_API void links_log_end(links_log_line *line, int keep);

/* The last lines, the oldest first, each with its line end: how many bytes, *data until the next
 * line is put together. */
LINKS_API int links_log_tail(const char **data);

/* What the head of RFC 5424 says of this process: facility 0 to 23, host and program. */
LINKS_API void links_log_identity(int facility, const char *program);

/* --- sinks --------------------------------------------------------------------------------- */

enum {
    LINKS_LOG_TO_FD,     /* stdout, stderr: `port` is the descriptor, which stays open */
    LINKS_LOG_TO_FILE,   /* `path` */
    LINKS_LOG_TO_TCP,    /* `path` is a host */
    LINKS_LOG_TO_UDP,    /* a datagram a line */
    LINKS_LOG_TO_STREAM, /* `path` of a unix socket */
    LINKS_LOG_TO_DGRAM,
    LINKS_LOG_TO_QUEUE, /* to links_log_take */
};

typedef struct links_log_options {
    int kind;
    int port;
    const char *path;
    int format, flags;  /* of the lines that tell of lost ones */
    int buffer_size;    /* bytes; rounded up to a power of two */
    int flush_interval; /* ms that a line waits at most; 0: none waits */
    int sync;           /* written by the caller */
    int block;          /* who finds the buffer full parks */
    int mode;           /* of a new file */
    double rotate_size; /* bytes; 0: not by size */
    int rotate_every;   /* 0, or 'h'our, 'd'ay, 'w'eek */
    int keep, compress; /* of rotated files */
} links_log_options;

/* The fields that Lua may read. */
typedef struct links_log_sink {
    double lines;   /* taken */
    double dropped; /* not taken, or lost later */
    double bytes;   /* written; after links_log_stats */
    int32_t error;  /* why the last write failed, 0 after one that did not */
    int32_t level;  /* of the line that links_log_take returned */
    int32_t tty;
} links_log_sink;

/* Opens a sink; the caller has one reference. 0 or -errno of a file that cannot be opened. */
LINKS_API int links_log_open_sink(links_log_sink **sink, const links_log_options *options);

/* One more reference, to be let go of by links_log_free_sink. */
LINKS_API void links_log_retain(links_log_sink *sink);

/* Lets go of it: what it holds is still written. A queue ends with the last reference but one, that
 * of its taker. */
LINKS_API void links_log_free_sink(links_log_sink *sink);

/* Hands a line over: 0; 1 where it was dropped; parks where the sink blocks and `may_wait`. */
LINKS_API int links_log_put(links_log_sink *sink, const links_log_line *line, int level,
                            int may_wait);

/* For lines in two calls: `how` is ((format * 8 + flags) * 2 + keep) * 8 + level. The first is as
 * links_log_begin, and returns whether the task that runs may have local values; the second as
 * links_log_end and links_log_put. */
LINKS_API int links_log_start(links_log_line *line, int how, const char *name, size_t name_len,
                              const char *message, size_t message_len);
LINKS_API int links_log_send(links_log_sink *sink, links_log_line *line, int how);

/* Begins to write what is there, and then waits for it: 0; or the error that it met. Parks;
 * `timeout_ms` 0 is no limit. `ticket` is 0 in the first call and afterwards what it was set to. */
LINKS_API int links_log_flush(links_log_sink *sink, double *ticket, double timeout_ms);

/* The file is opened anew once what is there has been written. */
LINKS_API void links_log_reopen(links_log_sink *sink);

/* Brings the fields up to date. */
LINKS_API void links_log_stats(links_log_sink *sink);

/* The next line of a queue, without its line end: a length, *data until the next call;
 * LINKS_CLOSED. Parks. */
LINKS_API int links_log_take(links_log_sink *sink, const char **data);

/* A line of a queue was lost by whoever has taken it. */
LINKS_API void links_log_lost(links_log_sink *sink);

/* Whether a queue has lines left. */
LINKS_API int links_log_left(links_log_sink *sink);

/* Whether the task that runs may have local values. */
LINKS_API int links_log_has_locals(void);

/* Writes all that is there, for a moment at most: before the process ends in some unusual way. */
LINKS_API void links_log_drain(void);

/* Lines that all sinks of this process have dropped, those that are gone included. */
LINKS_API double links_log_dropped(void);

#endif
