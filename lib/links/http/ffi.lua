-- The C side of the HTTP server, as src/modules/http/http.h declares it.
local ffi = require "ffi"
require "links.tls.ffi" -- the types of TLS are in its declarations

ffi.cdef [[
typedef struct links_http_options {
    int backlog, reuseport, exclusive, nodelay, v6only;
    int max_connections, max_pipelined, max_requests;
    int max_request_line, max_header_size, max_headers;
    int high_water_mark;
    int header_timeout, body_timeout, keep_alive_timeout, write_timeout, handler_timeout;
    int min_body_rate;
    double max_body_size;
    int date_header, cancel_on_abort, proxy_protocol;
    const char *server_header;
} links_http_options;
typedef struct links_http_server {
    int32_t status;
    int32_t want;
    int32_t connections;
    int32_t upgraded;
    int32_t queued;
    int32_t idle, reading, writing;
    double accepted, refused, requests, rejected;
    double bytes_in, bytes_out;
    double answers[6];
} links_http_server;
typedef struct links_http_place {
    int32_t family;
    int32_t port;
    int32_t len;
    char text[112];
} links_http_place;
typedef struct links_http_req {
    const char *url;
    uint32_t url_len;
    uint32_t fields;
    double content_length;
    double key;
    int32_t id;
    int32_t route;
    uint8_t method;
    uint8_t minor;
    uint8_t sent;
    uint8_t has_body;
    uint8_t cut;
} links_http_req;
links_http_server *links_http_open(const links_http_options *options);
int links_http_listen(links_http_server *server, const char *host, int port);
int links_http_listen_unix(links_http_server *server, const char *path, size_t len,
                                     int mode, int unlink_stale);
int links_http_trust(links_http_server *server, const char *network);
void links_http_trust_forwarded(links_http_server *server);
typedef struct links_http_visitor {
    links_http_place remote, local;
} links_http_visitor;
void links_http_keep_door(links_http_server *server);
links_http_visitor *links_http_visit(links_http_server *server);
void links_http_admit(links_http_server *server, links_http_visitor *visitor, int admit);
void links_http_set_tls(links_http_server *server, links_tls_context *context,
                                  int plain);
int links_http_next(links_http_server *server, int answered);
links_http_req *links_http_meet(links_http_server *server);
uint32_t links_http_left(links_http_server *server, int *cut);
void links_http_worker(links_http_server *server, int change, int busy);
void links_http_stop(links_http_server *server, int grace_ms);
int links_http_drained(links_http_server *server, double timeout_ms);
void links_http_abort(links_http_server *server);
void links_http_free(links_http_server *server);
void links_http_stats(links_http_server *server);
int links_http_address(const links_http_server *server, int nth, links_http_place *place);
void links_http_measure(int statuses, int durations, double *under_way, double *received,
                                  double *sent, const double *bounds, int nbounds);
int links_http_route(const char *labels, size_t len);
const char *links_http_method(int method);
const char *links_http_path(const links_http_req *r, int *len);
const char *links_http_query(const links_http_req *r, int *len);
int links_http_find(const links_http_req *r, const char *name, size_t len, int after);
const char *links_http_field_name(const links_http_req *r, int index, int *len);
const char *links_http_field_value(const links_http_req *r, int index, int *len);
void links_http_peer(const links_http_req *r, links_http_place *place);
void links_http_local(const links_http_req *r, links_http_place *place);
typedef struct links_http_client {
    links_http_place place;
    const char *scheme, *host;
    int scheme_len, host_len;
} links_http_client;
void links_http_client_of(const links_http_req *r, links_http_client *client);
double links_http_age(const links_http_req *r);
const links_http_server *links_http_server_of(const links_http_req *r);
links_tls *links_http_tls(const links_http_req *r);
int links_http_is_live(const links_http_server *server, double key);
int links_http_read(links_http_req *r, size_t max, const char **data);
const char *links_http_trailers(const links_http_req *r, int *len);
int links_http_watch(links_http_req *r);
struct links_tcp;
int links_http_can_upgrade(links_http_req *r, const char *proto, size_t len);
int links_http_upgrade(links_http_req *r, const char *proto, size_t len,
                                 struct links_tcp **socket);
const char *links_http_head(const links_http_req *r, int *len);
int links_http_set(links_http_req *r, int mode, const char *name, size_t name_len,
                             const char *value, size_t value_len);
const char *links_http_get(const links_http_req *r, const char *name, size_t name_len,
                                     int nth, int *len);
int links_http_unset(links_http_req *r, const char *name, size_t name_len);
void links_http_reset(links_http_req *r);
int links_http_respond(links_http_req *r, int status, const char *body, size_t len);
int links_http_respond_json(links_http_req *r, int status, const char *body, size_t len);
int links_http_start(links_http_req *r, int status, double length);
int links_http_write(links_http_req *r, const char *data, size_t len);
int links_http_inform(links_http_req *r, int status);
int links_http_flush(links_http_req *r);
int links_http_finish(links_http_req *r);
void links_http_break(links_http_req *r);
const char *links_http_reason(int status);
]]

-- By the number that a request has for it.
local METHODS = {}
for i = 0, 255 do
    local name = ffi.C.links_http_method(i)
    if name == nil then break end
    METHODS[i] = ffi.string(name)
end

return {
    C = ffi.C,
    METHODS = METHODS,
    AGAIN = -19999,
    CLOSED = -20002,
    EXCEED_BUF_SIZE = -20003,
    UNSUPPORTED = -20007,
    HEADERS_SENT = -21007,
    SET = 0,
    ADD = 1,
    TRAILER = 2,
    INFORM = 3,
    LEFT = 1,
    LATE = 2,
    NEW = 3,
}
