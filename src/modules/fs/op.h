/*
 * The inside of file operations: op.c begins and ends them on the loop's thread, run.c and tree.c
 * do them on another. Between the two nothing is shared but the operation itself, and its file's
 * descriptor, which is not closed while an operation holds it.
 */
#ifndef LINKS_MODULES_FS_OP_H
#define LINKS_MODULES_FS_OP_H

#include <sys/stat.h>
#include <sys/types.h>

#include "fs.h"
#include "modules/work.h"

enum {
    FS_DEPTH_MAX = 256, /* folders within folders that one removal goes down */
    FS_COPY_SIZE = 1 << 20,
};

typedef struct fs_file {
    links_fs_file view; /* first: Lua's pointer is ours */
    int fd;
    int refs;    /* the handle, and each operation */
    bool busy;   /* an operation reads or writes at its place */
    bool append; /* the system chooses where to write */
} fs_file;

typedef struct fs_op {
    links_fs_op view; /* first */
    work work;
    int kind;
    int rc; /* 0, or what went wrong */
    fs_file *file;
    fs_file *opened; /* by OPEN, until it is taken */
    int fd;          /* opened and not yet in a file: of run.c */
    char *path, *path2;
    char *in; /* to be written */
    size_t in_len;
    char *out; /* has been read */
    double max, offset, a, b;
    double at; /* where in the file */
    int flags, mode;
} fs_op;

/* Does the operation, on whatever thread. */
void fs_run(fs_op *op);

/* Notes the failure of a system call by errno; always -errno. */
int fs_fail(fs_op *op, const char *syscall);

/* The letter for a type of file, from st_mode. */
int fs_type(mode_t mode);

/* Those of tree.c. 0 or what went wrong. */
int fs_mkdir(fs_op *op);
int fs_readdir(fs_op *op);
int fs_remove(fs_op *op);
int fs_copy(fs_op *op);

/* Copies up to FS_COPY_SIZE bytes from where `from` stands to where `to` stands: how many, 0 at
 * the end, -errno. Of system_linux.c and system_bsd.c. */
ssize_t fs_copy_some(int from, int to, char *buffer);

/* read and write until all of it is done, the end, or a failure. */
ssize_t fs_read_all(int fd, char *data, size_t len);
int fs_write_all(int fd, const char *data, size_t len);

#endif
