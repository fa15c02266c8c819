/*
 * A file of the system's that may change under us: read as a whole, and again when it has changed.
 */
#ifndef LINKS_MODULES_DNS_FILE_H
#define LINKS_MODULES_DNS_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

typedef struct file_stamp {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec modified, changed;
} file_stamp;

/* Whether the file at `path` is another than the one that `stamp` was taken of, which it is
 * brought up to date with. A file that is not there is one too: all zero. */
bool file_changed(const char *path, file_stamp *stamp);

/* The first `max` bytes of the file, to be freed with mem_free. NULL for what is no readable plain
 * file. */
char *file_read(const char *path, size_t max, size_t *len);

#endif
