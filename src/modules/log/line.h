/*
 * A line of the log, being put together: text, JSON, or journald's fields. Whatever comes in, what
 * comes out is one line of valid UTF-8 without control characters, and of bounded length: what
 * clients have sent cannot end a line, begin another or speak to a terminal.
 */
#ifndef LINKS_MODULES_LOG_LINE_H
#define LINKS_MODULES_LOG_LINE_H

#include <stdbool.h>

#include "log.h"

enum {
    LOG_LINE_MAX = 32768,  /* bytes; fields beyond are left out, and the line says so */
    LOG_VALUE_MAX = 16384, /* bytes of the message, and of one value */
    LOG_LINE_SLACK = 512,  /* for the ends of what is open */
    LOG_DEPTH_MAX = 32,
    LOG_TAIL_SIZE = 65536, /* bytes of last lines that are kept */
};

typedef struct log_line {
    links_log_line view; /* first: Lua's pointer is ours */
    int64_t second;      /* the one that `stamp` is of */
    char stamp[20];      /* "2026-01-31T12:00:00." */
    uint8_t format, flags;
    bool comma;     /* a value has been written: the next one needs a comma */
    bool full;      /* nothing more fits: fields are skipped */
    uint8_t depth;  /* of what is open */
    uint8_t hidden; /* what was opened since it is full */
    char buffer[LOG_LINE_MAX + LOG_LINE_SLACK];
} log_line;

/* Makes ready a line that the caller owns. */
void log_line_init(log_line *l);

/* How a string is escaped. */
enum {
    LOG_PLAIN,  /* as it stands, quotes too */
    LOG_QUOTED, /* to stand between quotes, with the escapes of text: \x1b, \u{9b} */
    LOG_JSON,   /* to stand between quotes of JSON */
};

/* Appends `s`, escaped. What leads beyond `limit` bytes of the line is cut off. */
void log_line_escape(log_line *l, const char *s, size_t len, int how, uint32_t limit);

/* Appends bytes that are known to be harmless, and few. */
void log_line_put(log_line *l, const char *s, size_t len);
void log_line_put_uint(log_line *l, uint64_t n);

/* Begins without anything of its own; LINKS_LOG_JSON: behind an opening brace. */
void log_line_start(log_line *l, int format);

/* Puts the line end, and the ends of what is open. */
void log_line_finish(log_line *l);

/* The time as a logged one has it: "2026-01-31T12:00:00.000Z", 24 bytes. */
void log_line_put_time(log_line *l, int64_t ns);

/* The calendar of a day since 1970-01-01. */
void log_date_of(int64_t day, int *year, int *month, int *of_month);

#endif
