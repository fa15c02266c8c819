/*
 * A piece of memory that processes share by its name: a file that all of them have mapped, in
 * memory where the system has such a folder.
 *
 * Everybody who is attached holds a shared flock of the file. Who gets the lock for himself is
 * alone: the first, who makes it anew, and the last, who removes it. The system gives locks back
 * however a process ends, so what a crash leaves behind is taken for new by the next one.
 */
#ifndef LINKS_MODULES_SHARED_REGION_H
#define LINKS_MODULES_SHARED_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/list.h"

typedef struct region {
    list link; /* of those that are open, for the end of the process */
    pid_t opener;
    char *base;
    size_t size;
    char *path;
    int fd;
    bool keep; /* the file outlives its processes */
} region;

typedef struct region_ops {
    /* Nobody else is attached, and nobody can be until it returns. `fresh`: all bytes are 0;
     * otherwise it is what was kept. Returns 0 or a code, which region_open answers then. */
    int (*first)(region *r, bool fresh, void *arg);
    /* Others have made it. Returns 0 or a code. */
    int (*join)(region *r, void *arg);
    size_t reserve; /* bytes that are there from the start, region_reserve the rest; 0: all */
} region_ops;

/* The path of the shared memory `name`, of this user; mem_free it. Versions of links whose layouts
 * differ have memory of their own: while one takes over from another, neither reads the other's. */
char *region_path(const char *name, size_t len);

/* Maps the file `path`, of `size` bytes, making it where it is not there. With `keep` what is in it
 * stays when nobody has it open. May sleep while another process makes it. Returns 0, or a code:
 * LINKS_EXISTS where it is there in another size (which is in r->size then), EACCES where it is
 * another user's or not a plain file, ENOSPC, ENOMEM, EMFILE and so on; nothing is held then. */
int region_open(region *r, char *path, size_t size, bool keep, const region_ops *ops, void *arg);

/* Makes room for bytes that were not there from the start. 0 or -ENOSPC and the like. */
int region_reserve(region *r, size_t from, size_t len);

/* Lets go of it; of the file too, where this is the last. */
void region_close(region *r);

#endif
