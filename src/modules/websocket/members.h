/*
 * Who is subscribed to a topic, in all workers of a cluster: a list on demand, and word of each
 * who comes and goes.
 *
 * Nothing is kept for it in shared memory. Who wants a list asks the others over the bus, and each
 * answers out of what it has; all of that is in C, so a busy task of another worker is no
 * hindrance. Who wants to hear of changes says so in his interest (bus.h), and the others tell
 * him. */
#ifndef LINKS_MODULES_WEBSOCKET_MEMBERS_H
#define LINKS_MODULES_WEBSOCKET_MEMBERS_H

#include <stdbool.h>

#include "bus.h"
#include "conn.h"

enum {
    MEMBERS_ANSWER = 65536,   /* bytes of one message of an answer */
    MEMBERS_EVENTS = 1 << 20, /* bytes of changes that nobody has taken */
    MEMBERS_LIST = 64 << 20,  /* bytes of a list */
};

/* A subscription has come or gone: BUS_JOIN, BUS_LEAVE. */
void members_changed(int kind, const char *topic, size_t len, const ws *w, const char *member,
                     size_t member_len);

/* A message of these kinds has come over the bus. */
void members_take(const bus_message *m);

void members_close(void);

/* topic.c: calls `fn` for each subscription of this process to the topic, or to any that the
 * pattern stands for. */
typedef void member_fn(void *arg, const char *topic, size_t len, const ws *w, const char *member,
                       size_t member_len);
void topic_each_member(const char *topic, size_t len, member_fn *fn, void *arg);

/* Whether a name is that of the topic, or of one that the pattern stands for. */
bool topic_matches(const char *pattern, size_t pattern_len, const char *name, size_t len);

#endif
