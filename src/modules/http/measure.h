/*
 * The metrics of HTTP servers: all of a process together, counted in C when a request is over, so
 * that Lua has no part in it. Where nobody has asked for metrics this costs a look at a flag.
 */
#ifndef LINKS_MODULES_HTTP_MEASURE_H
#define LINKS_MODULES_HTTP_MEASURE_H

#include <stdbool.h>

#include "conn.h"

/* Somebody has asked. */
extern bool http_measures;

/* The head is complete: one more is under way. */
void http_measure_begin(http_request *r);

/* It is over. */
void http_measure_end(http_request *r);

/* A bad request is answered by `status`. */
void http_measure_refused(http_conn *c, int status);

#endif
