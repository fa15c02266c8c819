/*
 * Files as Lua calls them (lib/links/fs.lua). No call of the file system is made on the loop's
 * thread: an operation is begun by links_fs_start, which copies what it needs, done on a thread of
 * the pool, and waited for by links_fs_result. It has happened once, however often its result is
 * asked for, and it may still happen after its task was cancelled: what has begun cannot be called
 * back.
 */
#ifndef LINKS_MODULES_FS_FS_H
#define LINKS_MODULES_FS_FS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    LINKS_FS_READ_FILE,  /* path, max -> data */
    LINKS_FS_WRITE_FILE, /* path, data, flags, mode */
    LINKS_FS_OPEN,       /* path, flags, mode -> file */
    LINKS_FS_TEMP_FILE,  /* path (the beginning of its name) -> file, data (its path) */
    LINKS_FS_TEMP_DIR,   /* path -> data */
    LINKS_FS_READ,       /* file, max, offset -> data */
    LINKS_FS_WRITE,      /* file, data, offset -> value */
    LINKS_FS_SYNC,       /* file, flags 1: the data only */
    LINKS_FS_TRUNCATE,   /* file, offset */
    LINKS_FS_FSTAT,      /* file -> stat */
    LINKS_FS_CLOSE,      /* file */
    LINKS_FS_STAT,       /* path -> stat */
    LINKS_FS_LSTAT,
    LINKS_FS_MKDIR,    /* path, mode, flags 1: with its parents -> value 1: it was made */
    LINKS_FS_READDIR,  /* path, max -> data: for each a letter for the type, its name, a NUL */
    LINKS_FS_REMOVE,   /* path, flags 1: with what is in it */
    LINKS_FS_RENAME,   /* path, path2 */
    LINKS_FS_COPY,     /* path, path2, flags 1: not over one that exists -> value */
    LINKS_FS_SYMLINK,  /* path: what it points to; path2: where it is */
    LINKS_FS_READLINK, /* path -> data */
    LINKS_FS_REALPATH, /* path -> data */
    LINKS_FS_CHMOD,    /* path, mode */
    LINKS_FS_CHOWN,    /* path, a: uid, b: gid; -1: as it is */
    LINKS_FS_UTIME,    /* path, a: access, b: modification, in ms */
    LINKS_FS_KINDS,
};

/* Flags of LINKS_FS_OPEN and LINKS_FS_WRITE_FILE. */
enum {
    LINKS_FS_O_READ = 1,
    LINKS_FS_O_WRITE = 2,
    LINKS_FS_O_CREATE = 4,
    LINKS_FS_O_TRUNCATE = 8,
    LINKS_FS_O_APPEND = 16,
    LINKS_FS_O_EXCLUSIVE = 32,
    LINKS_FS_O_ATOMIC = 64, /* writeFile: into another file, which then takes this one's place */
};

/* An open file. Its place is kept here and not by the system, so that an operation whose task has
 * left does not move it. */
typedef struct links_fs_file {
    double at;      /* where the next read or write begins */
    int32_t closed; /* links_fs_file_close was called */
    int32_t seekable;
} links_fs_file;

typedef struct links_fs_args {
    const char *path, *path2, *data;
    size_t path_len, path2_len, data_len;
    links_fs_file *file;
    double max, offset; /* offset -1: at the file's place, which moves on */
    double a, b;
    int flags, mode; /* mode -1: 0666 for files, 0777 for folders; the umask applies */
} links_fs_args;

typedef struct links_fs_stat {
    double size, atime, mtime, ctime; /* bytes; ms since 1970 */
    double ino, dev, nlink, uid, gid;
    int32_t mode; /* permissions */
    int32_t type; /* a letter: f d l p s c b ? */
} links_fs_stat;

/* An operation; the fields are valid once links_fs_result has answered. */
typedef struct links_fs_op {
    const char *syscall; /* what failed, or what it was about */
    const char *data;
    size_t len;
    double value;
    links_fs_stat stat;
} links_fs_op;

/* Begins an operation: 0; -EINVAL for a NUL in a path; LINKS_CLOSED for a closed file, -EBUSY for
 * one that is read or written at its place already; LINKS_POOL_FULL. */
LINKS_API int links_fs_start(links_fs_op **op, int kind, const links_fs_args *args);

/* Parks until it is done. Returns 0 or what went wrong. */
LINKS_API int links_fs_result(links_fs_op *op);

/* Lets go of an operation, done or not. */
LINKS_API void links_fs_free(links_fs_op *op);

/* The file that was opened: the caller's from now on. */
LINKS_API links_fs_file *links_fs_take_file(links_fs_op *op);

/* Lets go of a file; it is closed when no operation uses it any more. */
LINKS_API void links_fs_file_free(links_fs_file *file);

#endif
