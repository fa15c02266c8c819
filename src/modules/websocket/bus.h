/*
 * What is published reaches the subscribers of all workers of a cluster: each of them has an inbox
 * in shared memory, in which the others put messages, and what it has subscriptions to, so that
 * they know whom to disturb. Who takes a message from his inbox publishes it to his own
 * connections.
 *
 * An inbox is bounded: what does not fit in is lost for that worker, and counted. A worker that is
 * killed is gone at once, with its subscriptions, and what was in its inbox.
 */
#ifndef LINKS_MODULES_WEBSOCKET_BUS_H
#define LINKS_MODULES_WEBSOCKET_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "modules/shared/presence.h"

enum {
    BUS_INBOX = 2 * 1024 * 1024, /* bytes, and those of the messages' heads */
    BUS_MESSAGE_MAX = 1536 * 1024,
};

/* Kinds of messages that are not published: members.h. */
enum { BUS_ASK = 64, BUS_ANSWER, BUS_JOIN, BUS_LEAVE };

typedef struct bus_message {
    const char *topic, *data;
    size_t topic_len, len;
    int kind;
} bus_message;

/* Whether this process has others to reach. */
bool bus_is_on(void);

/* The first subscription to be: opens the inbox, if that was not done. 0 or a code; the next two
 * are for after that. */
int bus_join(void);
void bus_subscribed(const char *topic, size_t len);
void bus_unsubscribed(const char *topic, size_t len);

/* Hands a message to the others who have subscriptions that it is for: how many subscriptions these
 * are. */
uint64_t bus_publish(const bus_message *m);

/* This process wants to hear who comes to the topic, or one that the pattern stands for, and who
 * leaves it; after bus_join. Whether another one does; and hands a message to those that do. */
void bus_watched(const char *topic, size_t len);
void bus_unwatched(const char *topic, size_t len);
bool bus_is_watched(const char *topic, size_t len);
void bus_tell(const bus_message *m);

/* Hands a message to one process, which must have an inbox: whether it has, and there was room. To
 * all of them, calling `sent` for each that got it. */
bool bus_send(int slot, uint32_t serial, const bus_message *m);
void bus_send_all(const bus_message *m, void (*sent)(void *arg, int slot, uint32_t serial),
                  void *arg);

/* Where this process is among the others, once bus_join was called; the number that it has as a
 * worker, -1 for none; and how many messages there was no room for in its inbox. */
links_presence bus_me(void);
int bus_worker(void);
uint64_t bus_lost(void);

/* Subscriptions of the others to the topic by this name. */
uint64_t bus_count(const char *topic, size_t len);

/* At the end of the process. */
void bus_close(void);

/* topic.c: to this process's own connections. How many got it. */
int topic_publish(const bus_message *m, const void *except);

#endif
