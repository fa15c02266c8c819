-- The C side of the log, as src/modules/log/log.h declares it.
local ffi = require "ffi"

ffi.cdef [[
typedef struct links_log_line {
    char *data;
    uint32_t len;
    int32_t cut;
} links_log_line;
links_log_line *links_log_line_new(void);
void links_log_line_free(links_log_line *line);
void links_log_begin(links_log_line *line, int format, int flags, int level,
                               const char *name, size_t name_len, const char *message,
                               size_t message_len);
void links_log_piece(links_log_line *line, int format);
void links_log_raw(links_log_line *line, const char *piece, size_t len);
void links_log_field(links_log_line *line, const char *name, size_t len);
void links_log_field_string(links_log_line *line, const char *name, size_t name_len,
                                      const char *s, size_t len);
void links_log_field_number(links_log_line *line, const char *name, size_t name_len,
                                      double n);
void links_log_key(links_log_line *line, const char *name, size_t len);
void links_log_string(links_log_line *line, const char *s, size_t len);
void links_log_number(links_log_line *line, double n);
void links_log_word(links_log_line *line, const char *s, size_t len);
void links_log_open(links_log_line *line, int bracket);
void links_log_close(links_log_line *line, int bracket);
void links_log_text(links_log_line *line, const char *s, size_t len);
void links_log_end(links_log_line *line, int keep);
int links_log_tail(const char **data);
void links_log_identity(int facility, const char *program);
typedef struct links_log_options {
    int kind;
    int port;
    const char *path;
    int format, flags;
    int buffer_size;
    int flush_interval;
    int sync;
    int block;
    int mode;
    double rotate_size;
    int rotate_every;
    int keep, compress;
} links_log_options;
typedef struct links_log_sink {
    double lines;
    double dropped;
    double bytes;
    int32_t error;
    int32_t level;
    int32_t tty;
} links_log_sink;
int links_log_open_sink(links_log_sink **sink, const links_log_options *options);
void links_log_retain(links_log_sink *sink);
void links_log_free_sink(links_log_sink *sink);
int links_log_put(links_log_sink *sink, const links_log_line *line, int level,
                            int may_wait);
int links_log_start(links_log_line *line, int how, const char *name, size_t name_len,
                              const char *message, size_t message_len);
int links_log_send(links_log_sink *sink, links_log_line *line, int how);
int links_log_flush(links_log_sink *sink, double *ticket, double timeout_ms);
void links_log_reopen(links_log_sink *sink);
void links_log_stats(links_log_sink *sink);
int links_log_take(links_log_sink *sink, const char **data);
void links_log_lost(links_log_sink *sink);
int links_log_left(links_log_sink *sink);
int links_log_has_locals(void);
void links_log_drain(void);
double links_log_dropped(void);
]]

return {
    C = ffi.C,
    AGAIN = -19999,
    TEXT = 0,
    JSON = 1,
    JOURNAL = 2,
    COLOR = 1,
    SYSLOG = 2,
    KEEP = 8, -- of links_log_start
    FD = 0,
    FILE = 1,
    TCP = 2,
    UDP = 3,
    STREAM = 4,
    DGRAM = 5,
    QUEUE = 6,
    -- What is less than the level of a logger is off; OFF is more than any.
    LEVELS = { debug = 0, info = 1, warn = 2, error = 3, fatal = 4, off = 5 },
}
