/*
 * Where a sink writes to. All of this runs on the sink's own thread, and may block for a while:
 * a second or so, after which it answers -EAGAIN, for the thread to see whether it is to end.
 */
#ifndef LINKS_MODULES_LOG_TARGET_H
#define LINKS_MODULES_LOG_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "log.h"

typedef struct log_target log_target;

typedef struct log_target_ops {
    /* Writes some of it, whole lines where it can: a count, more than 0; -EAGAIN when the reader is
     * slow, -errno when it failed. The bytes stay the caller's, who comes again with the rest. */
    ssize_t (*write)(log_target *t, const struct iovec iov[2], size_t len);
    /* One line as a datagram: 0; -EAGAIN or -errno to come again with it; -EMSGSIZE: lost. */
    int (*send)(log_target *t, const char *data, size_t len);
    int (*reopen)(log_target *t); /* NULL: there is nothing to reopen */
    void (*close)(log_target *t); /* and frees it */
} log_target_ops;

struct log_target {
    const log_target_ops *ops;
    int fd;      /* -1: none */
    bool framed; /* each line is a datagram */
};

enum {
    LOG_WAIT_MS = 1000,    /* for a reader, before the thread looks around */
    LOG_CONNECT_MS = 5000, /* for a connection */
};

/* A descriptor that is somebody else's: stderr, stdout. */
log_target *log_target_fd(int fd);

/* A file. Opened at once: NULL, and *error is -errno. */
log_target *log_target_file(const links_log_options *options, int *error);

/* A socket, connected when there is something to write. */
log_target *log_target_socket(const links_log_options *options);

/* Waits until `fd` takes something: 0, or -EAGAIN. */
int log_await_room(int fd);

/* Writes to what may be a pipe, a terminal or a socket, as log_target_ops.write; `whole` bytes at
 * most, at the end of a line where there is one (0: no limit). */
ssize_t log_write_some(int fd, const struct iovec iov[2], size_t len, size_t whole);

/* --- rotation (rotate.c) --- */

/* The name that a file which is put away gets: "app.log.20260131-120000", and where there is one
 * already, "-2" behind it. Returns 0 with `name` renamed, or -errno. */
int log_rotate_rename(const char *path, size_t size, char *name);

/* Removes the oldest rotated files beyond `keep`, and compresses the others on a thread of its
 * own. */
void log_rotate_tidy(const char *path, int keep, bool compress);

/* When the period (h, d, w, in local time) begins that `now` is in. */
int64_t log_rotate_period(int every, int64_t now);

#endif
