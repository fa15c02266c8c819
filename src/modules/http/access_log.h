/*
 * The access log as the server calls it.
 */
#ifndef LINKS_MODULES_HTTP_ACCESS_LOG_H
#define LINKS_MODULES_HTTP_ACCESS_LOG_H

#include "access.h"
#include "conn.h"

enum { HTTP_NOTES_MAX = 2048 };

/* The request is to have a line in that log. */
void http_access_begin(http_request *r, links_http_access *access);

/* The request is over: its line, if it is to have one that it has not had. */
void http_access_log(http_request *r);

/* A head was refused before it was complete. */
void http_access_refused(http_conn *c, int status);

/* A server has gone. */
void http_access_release(links_http_access *access);

#endif
