#include "servers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

enum { DNS_PORT = 53, MAX_PORT = 65535 };

void servers_init(server_lists *lists)
{
    *lists = (server_lists){0};
    list_init(&lists->used);
}

void servers_deinit(server_lists *lists)
{
    list *l;
    while ((l = list_pop_front(&lists->used)))
        mem_free(CONTAINER_OF(l, servers, link));
}

static void make_text(servers *s)
{
    char text[ADDRESS_TEXT_MAX];
    size_t len = 0;
    for (int i = 0; i < s->count; i++) {
        address_format(&s->at[i], text);
        len += (size_t)snprintf(s->text + len, sizeof(s->text) - len,
                                s->at[i].family == 6 ? "%s[%s]:%u" : "%s%s:%u", i ? "," : "", text,
                                (unsigned)s->at[i].port);
    }
}

/* Makes room for one more list. */
static bool forget_one(server_lists *lists)
{
    for (list *l = lists->used.prev; l != &lists->used; l = l->prev) {
        servers *s = CONTAINER_OF(l, servers, link);
        if (s->users)
            continue;
        list_remove(&s->link);
        mem_free(s);
        lists->count--;
        return true;
    }
    return false;
}

servers *servers_get(server_lists *lists, const address *at, int count)
{
    LIST_EACH (node, &lists->used) {
        servers *s = CONTAINER_OF(node, servers, link);
        if (s->count == count && memcmp(s->at, at, (size_t)count * sizeof(*at)) == 0) {
            list_remove(&s->link);
            list_push_front(&lists->used, &s->link);
            return s;
        }
    }
    if (lists->count == SERVERS_MAX_LISTS && !forget_one(lists))
        return NULL;
    servers *s = mem_new(servers);
    s->id = ++lists->last_id;
    s->count = count;
    memcpy(s->at, at, (size_t)count * sizeof(*at));
    make_text(s);
    list_push_front(&lists->used, &s->link);
    lists->count++;
    return s;
}

static int parse_port(const char *text, const char *end)
{
    int port = 0;
    if (text == end)
        return -EINVAL;
    for (; text < end; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        port = port * 10 + *text - '0';
        if (port > MAX_PORT)
            return -EINVAL;
    }
    return port ? port : -EINVAL;
}

/* "1.2.3.4", "1.2.3.4:53", "::1", "[::1]", "[::1]:53" */
static int parse_server(address *a, const char *text, const char *end)
{
    char host[ADDRESS_TEXT_MAX];
    const char *host_end = end, *port_text = NULL;
    int port = DNS_PORT;

    if (text < end && *text == '[') {
        text++;
        host_end = memchr(text, ']', (size_t)(end - text));
        if (!host_end || (host_end + 1 < end && host_end[1] != ':'))
            return -EINVAL;
        if (host_end + 1 < end)
            port_text = host_end + 2;
    } else {
        const char *colon = memchr(text, ':', (size_t)(end - text));
        /* More than one is an IPv6 address. */
        if (colon && !memchr(colon + 1, ':', (size_t)(end - colon - 1))) {
            host_end = colon;
            port_text = colon + 1;
        }
    }
    if (port_text)
        port = parse_port(port_text, end);
    size_t len = (size_t)(host_end - text);
    if (port < 0 || len >= sizeof(host))
        return -EINVAL;
    memcpy(host, text, len);
    host[len] = '\0';
    return address_parse(a, host, port);
}

int servers_parse(server_lists *lists, const char *text, servers **found)
{
    address at[SERVERS_MAX];
    int count = 0;
    for (;;) {
        const char *end = strchr(text, ',');
        const char *stop = end ? end : text + strlen(text);
        if (count == SERVERS_MAX)
            return -E2BIG;
        int rc = parse_server(&at[count], text, stop);
        if (rc < 0)
            return rc;
        count++;
        if (!end)
            break;
        text = end + 1;
    }
    *found = servers_get(lists, at, count);
    return *found ? 0 : LINKS_FULL;
}

servers *servers_find(server_lists *lists, int id)
{
    LIST_EACH (node, &lists->used) {
        servers *s = CONTAINER_OF(node, servers, link);
        if (s->id == id)
            return s;
    }
    return NULL;
}

void servers_order(servers *s, int64_t now_ms, uint8_t order[static SERVERS_MAX])
{
    int n = 0;
    unsigned first = s->rotate ? s->turn++ : 0;
    for (int bad = 0; bad < 2; bad++) {
        for (int i = 0; i < s->count; i++) {
            int k = (int)((first + (unsigned)i) % (unsigned)s->count);
            if ((s->bad_until_ms[k] > now_ms) == bad)
                order[n++] = (uint8_t)k;
        }
    }
}
