/*
 * What the loop asks of the system: one file per system answers it (poll_epoll.c, poll_kqueue.c),
 * and the Makefile compiles one. Private to src/ev.
 */
#ifndef LINKS_EV_POLL_H
#define LINKS_EV_POLL_H

#include <stdint.h>

typedef struct ev_poll ev_poll;

typedef struct ev_poll_event {
    uint64_t key; /* as given to poll_set; its lower half is the descriptor */
    int events;   /* EV_READ | EV_WRITE | EV_EOF */
} ev_poll_event;

/* NULL with errno set on failure. */
ev_poll *poll_open(void);
void poll_close(ev_poll *poll);

/* Reports `fd` under `key`, edge-triggered, both directions, beginning with what is ready now;
 * `on` 0 ends it, as closing the descriptor does. 0 or -errno. */
int poll_set(ev_poll *poll, int fd, uint64_t key, int on);

/* Reports `fd` under `key` for writing only (`on`), or both ways again, beginning with what is
 * ready then. Errors are reported in any case. 0 or -errno. */
int poll_mute(ev_poll *poll, int fd, uint64_t key, int on);

/* Ends the wait under way, or the next one. From any thread and from signal handlers. */
void poll_wake(ev_poll *poll);

/* Waits at most `timeout_ns` (-1: for ever, 0: not at all) and fills up to `max` events.
 * Returns how many, 0 on timeout, EINTR or poll_wake, -errno when it cannot work at all. An event
 * may come for nothing, or for a descriptor that was closed; none is ever lost. */
int poll_wait(ev_poll *poll, ev_poll_event *events, int max, int64_t timeout_ns);

#endif
