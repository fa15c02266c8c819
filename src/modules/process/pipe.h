/*
 * Our end of a pipe to or from a child. A real pipe and not a pair of sockets: programs open
 * /dev/stdin and /dev/stderr again, which sockets refuse. Reading and writing are tried first;
 * the loop, which watches it once and for all, only wakes who waits.
 */
#ifndef LINKS_MODULES_PROCESS_PIPE_H
#define LINKS_MODULES_PROCESS_PIPE_H

#include "ev/ev.h"
#include "process.h"

/* Takes over the descriptor. 0, or -errno with it left open. Undone by links_pipe_free. */
int pipe_new(links_pipe **pipe, ev_loop *loop, int fd);

#endif
