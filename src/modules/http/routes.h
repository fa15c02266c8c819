/*
 * The tree of a router's paths, as far as it can be walked without Lua (lib/links/http/tree.lua):
 * what is written out, parameters, parameters of digits, the rest of a path. Nodes are numbers, 0
 * is the root. What it does not find may still have a route: one with a pattern, or a path in an
 * unusual spelling; then Lua looks for
 * it. */
#ifndef LINKS_MODULES_HTTP_ROUTES_H
#define LINKS_MODULES_HTTP_ROUTES_H

#include "http.h"

typedef struct links_http_routes links_http_routes;

/* The value of a parameter: bytes of the request. */
typedef struct links_http_value {
    const char *data;
    int32_t len;
} links_http_value;

enum {
    LINKS_HTTP_STATIC = 0, /* a segment that is written out */
    LINKS_HTTP_PARAM = 1,  /* any segment */
    LINKS_HTTP_DIGITS = 2, /* a segment of digits */
    LINKS_HTTP_REST = 3,   /* all that follows */
    LINKS_HTTP_VALUES = 8, /* parameters of one path at most */
};

/* An empty tree, to be freed by links_http_routes_free, its finalizer. */
LINKS_API links_http_routes *links_http_routes_new(void);
LINKS_API void links_http_routes_free(links_http_routes *routes);

/* The child of a node for a segment, made where it is not there yet; `text` of a static one. */
LINKS_API int links_http_routes_child(links_http_routes *routes, int node, int kind,
                                      const char *text, size_t len);

/* A route ends at this node; its requests are counted by this number of links_http_route's. */
LINKS_API void links_http_routes_end(links_http_routes *routes, int node, int route);

/* The node has children that only Lua can match. */
LINKS_API void links_http_routes_hide(links_http_routes *routes, int node);

/* The node at which the route of the request's path ends, with its parameters in `values`, which
 * stay as long as the request, and the request noted to be the route's; -1: Lua is to look. */
LINKS_API int links_http_routes_find(const links_http_routes *routes, links_http_req *r,
                                     links_http_value *values);

#endif
