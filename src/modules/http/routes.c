#include "routes.h"

#include <stdbool.h>
#include <string.h>

#include "base/mem.h"

enum { FIRST_EDGES = 64, FIRST_NODES = 16 };

typedef struct node {
    int params[LINKS_HTTP_REST]; /* children by kind less one; 0: none, for the root is nobody's */
    int route;
    bool ends, hides;
} node;

/* From a node to its child for a static segment. */
typedef struct edge {
    char *text; /* NULL: a free place */
    uint32_t len, hash;
    int from, to;
} edge;

struct links_http_routes {
    node *nodes;
    int count, size;
    edge *edges; /* a hash table with open places, at most half of them taken */
    uint32_t taken, places;
};

/* --- building ------------------------------------------------------------------------------ */

static int new_node(links_http_routes *t)
{
    if (t->count == t->size) {
        t->size = t->size ? t->size * 2 : FIRST_NODES;
        t->nodes = mem_realloc(t->nodes, (size_t)t->size * sizeof(node));
    }
    t->nodes[t->count] = (node){0};
    return t->count++;
}

links_http_routes *links_http_routes_new(void)
{
    links_http_routes *t = mem_new(links_http_routes);
    t->places = FIRST_EDGES;
    t->edges = mem_zalloc(t->places * sizeof(edge));
    new_node(t);
    return t;
}

void links_http_routes_free(links_http_routes *t)
{
    for (uint32_t i = 0; i < t->places; i++)
        mem_free(t->edges[i].text);
    mem_free(t->edges);
    mem_free(t->nodes);
    mem_free(t);
}

/* FNV-1a, begun with the node. The names are the program's own: nobody can make them collide. */
static uint32_t hash_begin(int from) { return 2166136261u ^ (uint32_t)from * 2654435761u; }

static uint32_t hash_byte(uint32_t hash, char c) { return (hash ^ (unsigned char)c) * 16777619u; }

/* The place of an edge, or the free one where it would be. */
static edge *find_edge(const links_http_routes *t, int from, const char *text, uint32_t len,
                       uint32_t hash)
{
    for (uint32_t i = hash ^ hash >> 15;; i++) {
        edge *e = &t->edges[i & (t->places - 1)];
        if (!e->text)
            return e;
        if (e->hash == hash && e->from == from && e->len == len && memcmp(e->text, text, len) == 0)
            return e;
    }
}

static void grow(links_http_routes *t)
{
    edge *old = t->edges;
    uint32_t n = t->places;
    t->places *= 2;
    t->edges = mem_zalloc(t->places * sizeof(edge));
    for (uint32_t i = 0; i < n; i++)
        if (old[i].text)
            *find_edge(t, old[i].from, old[i].text, old[i].len, old[i].hash) = old[i];
    mem_free(old);
}

static int static_child(links_http_routes *t, int from, const char *text, uint32_t len)
{
    uint32_t hash = hash_begin(from);
    for (uint32_t i = 0; i < len; i++)
        hash = hash_byte(hash, text[i]);
    edge *e = find_edge(t, from, text, len, hash);
    if (e->text)
        return e->to;
    if (t->taken * 2 >= t->places) {
        grow(t);
        e = find_edge(t, from, text, len, hash);
    }
    *e = (edge){.text = mem_alloc(len + 1), .len = len, .hash = hash, .from = from};
    memcpy(e->text, text, len);
    t->taken++;
    e->to = new_node(t);
    return e->to;
}

int links_http_routes_child(links_http_routes *t, int from, int kind, const char *text, size_t len)
{
    if (kind == LINKS_HTTP_STATIC)
        return static_child(t, from, text, (uint32_t)len);
    int to = t->nodes[from].params[kind - 1];
    if (!to) {
        to = new_node(t);
        t->nodes[from].params[kind - 1] = to;
    }
    return to;
}

void links_http_routes_end(links_http_routes *t, int at, int route)
{
    t->nodes[at].ends = true;
    t->nodes[at].route = route;
}

void links_http_routes_hide(links_http_routes *t, int at) { t->nodes[at].hides = true; }

/* --- finding --------------------------------------------------------------------------------- */

/* What Lua looks at twice: escapes, backslashes, NULs. */
static bool is_special(char c) { return c == '%' || c == '\\' || c == '\0'; }

/* A segment from `at` on. Returns its length, -1 for one that Lua must look at: empty, or beginning
 * with a dot, or with something special in it. */
static int32_t take_segment(const char *at, const char *end, uint32_t *hash)
{
    const char *p = at;
    if (at == end || *at == '/' || *at == '.')
        return -1;
    for (; p < end && *p != '/'; p++) {
        if (is_special(*p))
            return -1;
        *hash = hash_byte(*hash, *p);
    }
    return (int32_t)(p - at);
}

static bool is_digits(const char *s, int32_t len)
{
    for (int32_t i = 0; i < len; i++)
        if (s[i] < '0' || s[i] > '9')
            return false;
    return true;
}

/* Whether all segments from `at` on are such that Lua would take them as they are. */
static bool is_plain_rest(const char *at, const char *end)
{
    uint32_t hash = 0;
    while (at < end) {
        int32_t len = take_segment(at, end, &hash);
        if (len < 0)
            return false;
        at += len + 1;
    }
    return end[-1] != '/';
}

/* The child for a segment that is not written out; -1: none, or Lua's to find. */
static int param_child(const node *n, const char *segment, int32_t len, const char *end)
{
    const int *params = n->params;
    if (n->hides)
        return -1;
    if (params[LINKS_HTTP_DIGITS - 1] && is_digits(segment, len))
        return params[LINKS_HTTP_DIGITS - 1];
    if (params[LINKS_HTTP_PARAM - 1])
        return params[LINKS_HTTP_PARAM - 1];
    if (params[LINKS_HTTP_REST - 1] && is_plain_rest(segment, end))
        return params[LINKS_HTTP_REST - 1];
    return -1;
}

static int arrive(const node *nodes, int at, links_http_req *r)
{
    if (!nodes[at].ends)
        return -1;
    r->route = nodes[at].route;
    return at;
}

/* The first way down is the right one where it arrives at a route; Lua tries the others. */
int links_http_routes_find(const links_http_routes *t, links_http_req *r, links_http_value *values)
{
    int path_len, count = 0, at = 0;
    const char *path = links_http_path(r, &path_len), *end = path + path_len;
    if (*path != '/')
        return -1;
    for (path++;;) {
        uint32_t hash = hash_begin(at);
        int32_t len = take_segment(path, end, &hash);
        if (len < 0)
            return -1;
        const edge *e = find_edge(t, at, path, (uint32_t)len, hash);
        if (e->text) {
            at = e->to;
        } else {
            const node *n = &t->nodes[at];
            at = param_child(n, path, len, end);
            if (at < 0 || count == LINKS_HTTP_VALUES)
                return -1;
            if (at == n->params[LINKS_HTTP_REST - 1])
                len = (int32_t)(end - path);
            values[count++] = (links_http_value){path, len};
        }
        path += len;
        if (path == end)
            return arrive(t->nodes, at, r);
        path++;
    }
}
