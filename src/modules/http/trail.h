/*
 * What requests a worker of a cluster serves, where its master can see it after the worker has
 * died, however it has: a page of memory that both have mapped, with an entry for each request.
 *
 * It is written when a request is handed out, and that is a copy of 104 bytes of its target;
 * nothing is locked, for nobody reads it while the worker lives. The scheduler notes there which
 * task
 * runs. */
#ifndef LINKS_MODULES_HTTP_TRAIL_H
#define LINKS_MODULES_HTTP_TRAIL_H

#include <stdint.h>
#include <string.h>

#include "http.h"
#include "modules/process/process.h"

enum {
    TRAIL_ENTRIES = 256, /* requests under way beyond are not all seen */
    TRAIL_TEXT = 104,    /* bytes of a target */
};

typedef struct http_trail_entry {
    uint64_t request;  /* whose it is: its address; 0: nobody has had it */
    uint64_t began_ns; /* of the monotonic clock */
    uint32_t task;     /* that serves it; 0: it has been answered */
    uint16_t len;
    uint8_t method;
    uint8_t number; /* of the entry */
    char text[TRAIL_TEXT];
} http_trail_entry;

typedef struct http_trail {
    uint32_t running; /* the task that runs; 0: none */
    uint32_t last;    /* the number of the entry that was begun last */
    char line[56];
    http_trail_entry entries[TRAIL_ENTRIES];
} http_trail;

/* --- the worker ------------------------------------------------------------------------------- */

/* NULL: nothing is noted. */
extern http_trail *trail_own;

/* An entry for the requests that come in the same memory; NULL: nothing is noted. */
http_trail_entry *trail_entry(void);

/* A task has been given a request: with its target, behind which `room` bytes can be read. */
static inline void trail_begin(http_trail_entry *e, const void *request, const links_http_req *view,
                               size_t room)
{
    e->request = (uintptr_t)request;
    e->len = (uint16_t)(view->url_len < TRAIL_TEXT ? view->url_len : TRAIL_TEXT);
    e->method = view->method;
    trail_own->last = e->number;
    /* A copy of a fixed size is a few instructions, and one of another size is a call. */
    if (__builtin_expect(room >= TRAIL_TEXT, 1))
        memcpy(e->text, view->url, TRAIL_TEXT);
    else
        memcpy(e->text, view->url, e->len);
}

/* The request is over. */
static inline void trail_end(http_trail_entry *e, const void *request)
{
    if (e->request == (uintptr_t)request)
        e->task = 0;
}

/* --- the master ------------------------------------------------------------------------------- */

/* Makes the page of a worker: its descriptor, the caller's, or -errno. */
int trail_new(http_trail **trail);
void trail_free(http_trail *trail);

/* What the worker, which has died, did last. */
void trail_last(const http_trail *trail, links_last_request *last);

#endif
