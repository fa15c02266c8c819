/*
 * Unix sockets: paths, abstract names, stale socket files, and who is at the other end.
 */
#ifndef LINKS_MODULES_NET_UNIX_H
#define LINKS_MODULES_NET_UNIX_H

#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>

#include "tcp.h"

/* A path, or "@name" for the abstract namespace of Linux, to a socket address. Returns its length,
 * -ENAMETOOLONG, -EINVAL for one that is empty or has a NUL in it, LINKS_UNSUPPORTED for an
 * abstract name where there are none. */
int unix_address(struct sockaddr_un *un, const char *path, size_t len);

/* The reverse, into `text` (112 bytes): its length, 0 for a socket without a name. */
int unix_path_of(const struct sockaddr_un *un, socklen_t len, char *text);

/* The file of a socket that listens, to be removed when it does no more. */
typedef struct unix_file {
    char *path; /* NULL: none */
    dev_t dev;
    ino_t ino;
} unix_file;

/* A file that is there already becomes one to be removed. */
void unix_file_adopt(unix_file *file, const char *path);

/* It is not removed by us any more. */
void unix_file_forget(unix_file *file);

/* A socket bound to the path and not yet listening: one that this process was started with, or a
 * new one. A socket file that nobody listens on is replaced where `unlink_stale`. The descriptor,
 * or -errno (-EADDRINUSE where somebody listens, or where the file is no socket; -EPERM where its
 * owner or group may not be set). */
int unix_bind(unix_file *file, const char *path, size_t len, const links_unix_options *options);

/* The same, but in a worker of a cluster the socket is its master's, and so is the file: *lease is
 * for listener_owes then. */
int unix_listen(unix_file *file, const char *path, size_t len, const links_unix_options *options,
                uint32_t *lease);

/* Removes the file, if it is still the one that was made, and forgets it. */
void unix_file_remove(unix_file *file);

/* The peer's user, group and process (-1: not known): 0 or -errno. In unix_linux.c, unix_bsd.c. */
int unix_credentials(int fd, int *uid, int *gid, int *pid);

/* Whether names that begin with "@" are abstract ones. */
extern const int unix_has_abstract;

#endif
