-- The C side of WebSockets, as src/modules/websocket/websocket.h declares it.
local ffi = require "ffi"

require "links.http.ffi"

ffi.cdef [[
typedef struct links_ws_options {
    double max_message_size, max_buffered;
    int max_fragments, max_message_rate, max_per_ip;
    int ping_interval, idle_timeout, close_timeout;
    int on_overflow;
    int pieces;
    int callbacks;
    int per_message_task;
    int compress, level, threshold;
    int server_no_context, client_no_context, server_bits, client_bits;
} links_ws_options;
typedef struct links_ws_hub {
    int32_t status;
    int32_t want;
    int32_t workers;
    int32_t connections;
    int32_t event;
    int32_t kind;
    const char *data;
    size_t len;
} links_ws_hub;
typedef struct links_ws {
    double id;
    double latency;
    double dropped;
    uint32_t slot;
    int32_t status;
    uint8_t closed;
    uint8_t deflate;
} links_ws;
links_ws_hub *links_ws_hub_new(const links_ws_options *options);
void links_ws_hub_free(links_ws_hub *hub);
links_ws *links_ws_next(links_ws_hub *hub, links_ws *done);
void links_ws_worker(links_ws_hub *hub, int change, int busy);
struct links_http_req;
struct links_tcp;
int links_ws_check(struct links_http_req *r);
int links_ws_accept(links_ws_hub *hub, struct links_http_req *r, const char *client,
                              int port, links_ws **ws);
void links_ws_key(char *key);
void links_ws_answer(const char *key, char *answer);
int links_ws_offer(const links_ws_hub *hub, char *offer);
int links_ws_connected(links_ws_hub *hub, struct links_tcp *socket, const char *extensions,
                                 size_t len, links_ws **ws);
void links_ws_own(links_ws *ws);
void links_ws_free(links_ws *ws);
int links_ws_write(links_ws *ws, const char *data, size_t len, int kind);
int links_ws_ping(links_ws *ws, const char *data, size_t len);
int links_ws_close(links_ws *ws, int status, const char *reason, size_t len);
double links_ws_buffered(const links_ws *ws);
int links_ws_peer(const links_ws *ws, char *text, int *port);
struct links_tls *links_ws_tls(const links_ws *ws);
const char *links_ws_reason(const links_ws *ws, int *len);
int links_ws_subscribe(links_ws *ws, const char *topic, size_t len, const char *member,
                                 size_t member_len);
int links_ws_unsubscribe(links_ws *ws, const char *topic, size_t len);
const char *links_ws_topic(const links_ws *ws, int nth, int *len);
double links_ws_publish(const char *topic, size_t topic_len, const char *data, size_t len,
                                  int kind, const links_ws *except, int everywhere);
double links_ws_count(const char *topic, size_t len);
void links_ws_bus(const char *cluster, size_t len, int worker);
typedef struct links_ws_member {
    double ws;
    int32_t slot;
    uint32_t serial;
    int32_t worker;
    uint32_t size;
    uint16_t len;
    uint8_t topic_len;
    uint8_t event;
    char bytes[4];
} links_ws_member;
typedef struct links_ws_question links_ws_question;
int links_ws_ask(links_ws_question **question, const char *topic, size_t len);
int links_ws_answered(links_ws_question *question, double timeout_ms);
const char *links_ws_found(const links_ws_question *question, size_t *len);
void links_ws_question_free(links_ws_question *question);
int links_ws_watch(const char *topic, size_t len);
void links_ws_unwatch(const char *topic, size_t len);
int links_ws_changes(const char **data, size_t *len, int *lost);
void links_ws_look(void);
typedef struct links_ws_counts {
    double connections, opened;
    double received, sent, dropped;
    double received_bytes, sent_bytes;
    double topics, subscriptions;
} links_ws_counts;
const links_ws_counts *links_ws_counted(void);
void links_ws_bus_stats(double out[5]);
]]

return {
    C = ffi.C,
    AGAIN = -19999,
    CLOSED = -20002,
    FULL = -20013,
    OPEN = 1,
    MESSAGE = 2,
    DRAIN = 3,
    END = 4,
}
