/*
 * Moving bytes from a file or a socket to a socket without bringing them into the process, where
 * the system can: transfer_linux.c; elsewhere transfer_bsd.c copies.
 */
#ifndef LINKS_MODULES_NET_TRANSFER_H
#define LINKS_MODULES_NET_TRANSFER_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Set while one of these calls is made: no flag of theirs keeps SIGPIPE away, and its handler must
 * not take a peer who has left for a reader of our output who has. */
extern volatile sig_atomic_t transfer_under_way;

/* Sends up to `len` bytes of a file from `offset` on: how many, 0 at the end of the file, -EAGAIN,
 * -errno. */
ssize_t transfer_file(int sock, int fd, int64_t offset, size_t len);

/* A pipe between two sockets: 0, or -errno, -ENOSYS where sockets cannot be spliced. */
int transfer_pipe_open(int ends[2]);

/* From a socket into an empty pipe: how many bytes, 0 at the end of file, -EAGAIN when nothing has
 * come, -errno. */
ssize_t transfer_in(int sock, int pipe);

/* From a pipe that holds `len` bytes to a socket: how many, -EAGAIN, -errno. */
ssize_t transfer_out(int pipe, int sock, size_t len);

#endif
