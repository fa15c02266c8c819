/*
 * Files that are sent: one that several outputs share, and whether sending would wait for the disk
 * (sendfile_linux.c, sendfile_bsd.c).
 */
#ifndef LINKS_MODULES_NET_SENDFILE_H
#define LINKS_MODULES_NET_SENDFILE_H

#include <stdint.h>
#include <sys/types.h>

/* An open file, closed when nobody refers to it any more. */
typedef struct shared_file {
    int fd;
    int refs;
    int64_t seen;    /* bytes from its beginning that were in memory, */
    int64_t seen_ms; /* since then */
} shared_file;

/* Takes over the descriptor; the first reference is the caller's. */
shared_file *shared_file_new(int fd);
shared_file *shared_file_ref(shared_file *f);
void shared_file_unref(shared_file *f);

/* Whether these bytes lie in memory, as far as can be told cheaply: sending them will not wait for
 * the disk. */
int sendfile_is_cached(int fd, int64_t offset, size_t len);

#endif
