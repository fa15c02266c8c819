#define _GNU_SOURCE
#include "modules/http/conn.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lua/vm.h"
#include "modules/http/server.h"

/* The server without Lua: the test is the worker. */

static ev_loop *loop;
static links_http_server *server;
static int client;

static links_http_options options = {
    .max_connections = 100,
    .max_pipelined = 16,
    .max_request_line = 8192,
    .max_header_size = 16384,
    .max_headers = 100,
    .high_water_mark = 65536,
    .max_body_size = 1 << 20,
    .header_timeout = 10000,
    .date_header = 0,
};

static int dial(void)
{
    address at;
    struct sockaddr_storage ss;
    links_http_place place;
    cr_assert_eq(links_http_address(server, 0, &place), 0);
    address_parse(&at, place.text, place.port);
    socklen_t len = address_to_sockaddr(&at, &ss);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&ss, len), 0);
    return fd;
}

static void turn(int n)
{
    while (n-- > 0)
        ev_loop_turn(loop, 0);
}

static void setup(void)
{
    loop = ev_loop_new();
    cr_assert_eq(vm_open(loop), 0);
    server = links_http_open(&options);
    cr_assert_eq(links_http_listen(server, "127.0.0.1", 0), 0);
    client = dial();
    turn(2);
    cr_assert_eq(server->connections, 1);
}

static void teardown(void)
{
    links_http_free(server);
    close(client);
    turn(1);
    vm_close();
    ev_loop_free(loop);
}

TestSuite(conn, .init = setup, .fini = teardown);

static void put(const char *text)
{
    cr_assert_eq(write(client, text, strlen(text)), (ssize_t)strlen(text));
    turn(2);
}

static const char *got(void)
{
    static char buf[65536];
    turn(2);
    ssize_t n = recv(client, buf, sizeof(buf) - 1, MSG_DONTWAIT);
    buf[n > 0 ? n : 0] = '\0';
    return n == 0 ? "(end)" : buf;
}

static http_conn *first_conn(void)
{
    http_server *s = (http_server *)server;
    return CONTAINER_OF(s->conns.next, http_conn, link);
}

/* The next request, as a worker gets it; NULL for none. */
static links_http_req *next_request(int answered)
{
    static links_http_req *known[64];
    int id = links_http_next(server, answered);
    if (id < 0 && server->status == LINKS_HTTP_NEW) {
        links_http_req *r = links_http_meet(server);
        known[r->id] = r;
        id = links_http_next(server, 0);
        cr_assert_eq(id, r->id);
    }
    return id < 0 ? NULL : known[id];
}

#define GET "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"

Test(conn, holds_nothing_but_itself_while_idle)
{
    net *n = ((http_server *)server)->net;
    http_conn *c = first_conn();
    cr_assert_leq(sizeof(http_conn), 256u);
    put(GET);
    cr_assert_not_null(c->in);
    cr_assert_not_null(c->req);
    links_http_respond(next_request(0), 200, "hi", 2);
    turn(1);
    cr_assert_null(c->in);
    cr_assert_null(c->req);
    cr_assert_null(c->stream.out);
    cr_assert_eq(n->chunks.used, 0);
}

Test(conn, gives_one_request_at_a_time)
{
    put(GET GET GET);
    for (int i = 0; i < 3; i++) {
        links_http_req *r = next_request(i > 0);
        cr_assert_not_null(r);
        cr_assert_null(next_request(0), "the next one before the answer to this");
        links_http_respond(r, 200, "", 0);
    }
    cr_assert_null(next_request(1));
    const char *all = got();
    int count = 0;
    while ((all = strstr(all, "HTTP/1.1 200 OK\r\n")))
        all++, count++;
    cr_assert_eq(count, 3);
}

Test(conn, has_a_key_that_dies_with_the_request)
{
    put(GET);
    links_http_req *r = next_request(0);
    double key = r->key;
    cr_assert(links_http_is_live(server, key));
    links_http_respond(r, 200, "", 0);
    cr_assert_not(links_http_is_live(server, key));
    put(GET);
    r = next_request(1);
    cr_assert_neq(r->key, key);
    cr_assert(links_http_is_live(server, r->key));
    cr_assert_not(links_http_is_live(server, key));
    cr_assert_not(links_http_is_live(server, 1e15));
    links_http_respond(r, 200, "", 0);
}

Test(conn, leaves_a_request_to_its_worker_when_the_client_goes)
{
    const char *data;
    put("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345");
    links_http_req *r = next_request(0);
    cr_assert_eq(links_http_read(r, 100, &data), 5);
    links_http_abort(server);
    turn(2);
    cr_assert_eq(server->connections, 1);
    cr_assert(links_http_is_live(server, r->key));
    cr_assert_eq(r->url[0], '/');
    cr_assert_eq(links_http_read(r, 100, &data), LINKS_CLOSED);
    cr_assert_eq(links_http_start(r, 200, -1), LINKS_CLOSED);
    cr_assert_eq(links_http_respond(r, 200, "x", 1), LINKS_CLOSED);
    turn(1);
    cr_assert_eq(server->connections, 0);
}

Test(conn, drops_a_queued_request_when_the_client_goes)
{
    put(GET);
    cr_assert_eq(server->queued, 1);
    links_http_abort(server);
    turn(1);
    cr_assert_eq(server->queued, 0);
    cr_assert_eq(server->connections, 0);
    cr_assert_null(next_request(0));
}

Test(conn, keeps_the_head_where_it_is_while_the_body_comes)
{
    /* A head that nearly fills the buffer, and a body that needs it many times over. */
    char head[16000], body[4001];
    int n = snprintf(head, sizeof(head),
                     "POST /abc HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\nX: ");
    memset(head + n, 'h', sizeof(head) - (size_t)n - 5);
    strcpy(head + sizeof(head) - 5, "\r\n\r\n");
    put(head);
    links_http_req *r = next_request(0);
    cr_assert_not_null(r);

    memset(body, 'b', 4000);
    body[4000] = '\0';
    int total = 0, len;
    for (int i = 0; i < 50; i++) {
        const char *data;
        put(body);
        for (int got = 0; got < 4000; got += n) {
            n = links_http_read(r, 100000, &data);
            cr_assert_gt(n, 0);
            for (int k = 0; k < n; k++)
                cr_assert_eq(data[k], 'b');
            total += n;
        }
    }
    cr_assert_eq(total, 200000);
    cr_assert_eq(memcmp(r->url, "/abc", 4), 0);
    int at = links_http_find(r, "x", 1, -1);
    const char *value = links_http_field_value(r, at, &len);
    cr_assert_eq(value[0], 'h');
    cr_assert_eq(value[len - 1], 'h');
    links_http_respond(r, 200, "", 0);
}

Test(conn, keeps_no_buffer_for_a_line_that_may_be_empty)
{
    http_conn *c = first_conn();
    put("\r");
    cr_assert_eq(c->state, CONN_IDLE);
    cr_assert_eq(c->in->size, 1024);
    put("\n\r");
    cr_assert_eq(c->in->size, 1024);
    put("\n" GET);
    cr_assert_not_null(next_request(0));
}

Test(conn, refuses_a_client_that_sends_empty_lines_for_ever)
{
    put("\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" GET);
    cr_assert_not_null(strstr(got(), "400 Bad Request"));
}

Test(conn, stages_fields_up_to_its_limit)
{
    char value[1000];
    memset(value, 'v', sizeof(value));
    put(GET);
    links_http_req *r = next_request(0);
    int rc = 0, n = 0;
    for (; rc == 0 && n < 100; n++)
        rc = links_http_set(r, LINKS_HTTP_ADD, "X", 1, value, sizeof(value));
    cr_assert_eq(rc, LINKS_EXCEED_BUF_SIZE);
    cr_assert_eq(n, 17);
    cr_assert_eq(links_http_unset(r, "x", 1), 0);
    cr_assert_null(links_http_get(r, "X", 1, 0, &n));
    cr_assert_eq(links_http_set(r, LINKS_HTTP_SET, "X", 1, "1", 1), 0);
    links_http_respond(r, 200, "", 0);
    cr_assert_str_eq(got(), "HTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 0\r\n\r\n");
}

Test(conn, writes_chunks_that_end)
{
    put(GET);
    links_http_req *r = next_request(0);
    cr_assert_eq(links_http_start(r, 200, -1), 0);
    cr_assert_eq(links_http_start(r, 200, -1), LINKS_HTTP_HEADERS_SENT);
    cr_assert_eq(links_http_write(r, "0123456789abcdefg", 17), 17);
    cr_assert_eq(links_http_write(r, "", 0), 0);
    cr_assert_eq(links_http_finish(r), 0);
    cr_assert_str_eq(got(),
                     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "11\r\n0123456789abcdefg\r\n0\r\n\r\n");
}
