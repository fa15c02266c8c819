/*
 * The access log: a line for each request when it is over, put together here, so that Lua has no
 * part in it, and handed to a sink of src/modules/log. Where a server has none it costs a look at
 * a pointer.
 */
#ifndef LINKS_MODULES_HTTP_ACCESS_H
#define LINKS_MODULES_HTTP_ACCESS_H

#include "http.h"
#include "modules/log/log.h"

/* A format made of text and variables; see lib/links/log/access.lua for what there are. */
typedef struct links_http_access_options {
    const char *format; /* NULL: JSON */
    int records;        /* each line gets a tab and the JSON behind it */
    double sample;      /* 0 to 1: the share of the requests that are logged */
    int min_status;
    double min_duration; /* ms */
} links_http_access_options;

typedef struct links_http_access links_http_access;

/* Returns 0; or -EINVAL for a variable that there is not, with *at its place in the format. The
 * sink stays open for as long as this does. */
LINKS_API int links_http_access_new(links_http_access **access,
                                    const links_http_access_options *options, links_log_sink *sink,
                                    int *at);
LINKS_API void links_http_access_free(links_http_access *access);

/* Logs all requests of a server, or of one request, whatever its server does. */
LINKS_API void links_http_access_server(links_http_server *server, links_http_access *access);
LINKS_API void links_http_access_request(links_http_req *r, links_http_access *access);

/* Notes something of a request for its line, in place of what has that name: 0, LINKS_FULL beyond
 * 2048 bytes. A number is `is_number`. */
LINKS_API int links_http_note(links_http_req *r, const char *name, size_t name_len,
                              const char *value, size_t value_len, int is_number);

#endif
