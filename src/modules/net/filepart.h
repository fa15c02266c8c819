/*
 * A part of a file in a stream's output. It has its place among the chunks of bytes and goes from
 * the file to the socket without passing through the process. What is not in memory is read ahead
 * by a thread first, so that a slow disk holds up one stream and not the loop.
 */
#ifndef LINKS_MODULES_NET_FILEPART_H
#define LINKS_MODULES_NET_FILEPART_H

#include <stdbool.h>
#include <stdint.h>

#include "base/chunk.h"
#include "sendfile.h"
#include "stream.h"

enum { FILEPART_WINDOW = 1048576 }; /* bytes sent, and read ahead, at a time */

/* A chunk that stands for a part of a file; it holds a reference. Never NULL. */
chunk *filepart_new(stream *s, shared_file *f, int64_t offset, int64_t len);

/* Whether a chunk is one: smaller than any that holds bytes. */
static inline bool filepart_is(const chunk *c) { return c->size < CHUNK_SIZE; }

/* Lets go of the file. */
void filepart_drop(chunk *c);

/* Sends some of it: how many bytes; -EAGAIN where the socket has no room; LINKS_AGAIN where a
 * thread reads first, and the stream will be flushed again; -EIO where the file ended before;
 * -errno. */
ssize_t filepart_send(chunk *c);

/* Its stream has moved. */
void filepart_move(chunk *c, stream *s);

/* The bytes that are left of it. */
int64_t filepart_left(const chunk *c);

#endif
