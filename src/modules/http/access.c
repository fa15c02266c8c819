#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "access_log.h"
#include "base/mem.h"
#include "base/ticks.h"
#include "forwarded.h"
#include "modules/log/sink.h"
#include "server.h"

enum {
    ABORTED = 499, /* the status of a request whose client left before it was answered */
    USER_MAX = 64,
    NAME_MAX_LEN = 64,
    SYNC_NS = 1000000000,
    TIME_LEN = 26, /* "31/Jan/2026:12:00:00 +0000" */
};

#define SYNC_MAX_NS (10ll * SYNC_NS)

typedef enum variable {
    LITERAL,
    REMOTE_ADDRESS,
    REMOTE_PORT,
    REMOTE_USER,
    LOCAL_PORT,
    TIME,
    TIME_ISO,
    MSEC,
    METHOD,
    URL,
    PATH,
    QUERY,
    VERSION,
    STATUS,
    BYTES,
    BYTES_SENT,
    BYTES_RECEIVED,
    DURATION,
    HOST,
    REFERER,
    USER_AGENT,
    REQUEST_ID,
    ABORTED_FLAG,
    HEADER,
    RESPONSE_HEADER,
    NOTE,
} variable;

static const struct {
    const char *name;
    variable variable;
} names[] = {
    {"remoteAddress", REMOTE_ADDRESS},
    {"remotePort", REMOTE_PORT},
    {"remoteUser", REMOTE_USER},
    {"localPort", LOCAL_PORT},
    {"time", TIME},
    {"timeIso", TIME_ISO},
    {"msec", MSEC},
    {"method", METHOD},
    {"url", URL},
    {"path", PATH},
    {"query", QUERY},
    {"version", VERSION},
    {"status", STATUS},
    {"bytes", BYTES},
    {"bytesSent", BYTES_SENT},
    {"bytesReceived", BYTES_RECEIVED},
    {"duration", DURATION},
    {"host", HOST},
    {"referer", REFERER},
    {"userAgent", USER_AGENT},
    {"requestId", REQUEST_ID},
    {"aborted", ABORTED_FLAG},
    {"header.", HEADER},
    {"responseHeader.", RESPONSE_HEADER},
    {"note.", NOTE},
};

typedef struct op {
    variable variable;
    uint32_t at, len; /* of the text, or of the name behind the point */
} op;

struct links_http_access {
    links_http_access_options options; /* without its format */
    log_sink *sink;
    int refs;
    char *format; /* NULL: JSON */
    op *ops;
    int count;
    uint32_t sample_below; /* random numbers below this are logged; 0: all */
    uint64_t random;
    int64_t second;    /* that `time` is of */
    int64_t synced_ns; /* the monotonic time when the clocks were last looked at, */
    uint64_t synced_ticks;
    double ns_per_tick; /* 0: not known yet */
    int64_t offset_ns;  /* of the real time */
    char time[TIME_LEN];
    log_line line;
};

/* What there is to say of a request. */
typedef struct subject {
    links_http_access *access;
    http_conn *conn;
    http_request *request; /* NULL: its head was refused */
    int64_t now_ns;        /* real time */
    double duration;       /* ms */
    int status;
    bool aborted;
} subject;

typedef struct text {
    const char *data;
    size_t len;
} text;

/* --- the format ---------------------------------------------------------------------------- */

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static void add(links_http_access *a, variable v, size_t at, size_t len)
{
    if ((a->count & (a->count - 1)) == 0)
        a->ops = mem_realloc(a->ops, (a->count ? (size_t)a->count * 2 : 1) * sizeof(op));
    a->ops[a->count++] = (op){v, (uint32_t)at, (uint32_t)len};
}

/* The variable whose name begins at `at`: the bytes of it, 0 for none. */
static size_t add_variable(links_http_access *a, size_t at)
{
    const char *s = a->format + at;
    size_t len = 0, part = 0;
    while (is_name(s[len]))
        len++;
    if (s[len] == '.') {
        part = ++len;
        while (is_name(s[len]) || s[len] == '-' || s[len] == '_')
            len++;
        /* A point may also be that of a sentence. */
        if (len == part)
            part = 0, len--;
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        size_t n = strlen(names[i].name);
        if (n == (part ? part : len) && memcmp(names[i].name, s, n) == 0) {
            add(a, names[i].variable, at + part, part ? len - part : 0);
            return len;
        }
    }
    return 0;
}

static int compile(links_http_access *a, int *error_at)
{
    const char *s = a->format;
    size_t at = 0, from = 0;
    while (s[at]) {
        if (s[at] != '$') {
            at++;
            continue;
        }
        if (at > from)
            add(a, LITERAL, from, at - from);
        if (s[at + 1] == '$') {
            from = at + 1;
            at += 2;
            continue;
        }
        bool braces = s[at + 1] == '{';
        size_t n = add_variable(a, at + 1 + braces);
        if (!n || (braces && s[at + 2 + n] != '}')) {
            *error_at = (int)at;
            return -EINVAL;
        }
        at += 1 + n + 2 * (size_t)braces;
        from = at;
    }
    if (at > from)
        add(a, LITERAL, from, at - from);
    return 0;
}

int links_http_access_new(links_http_access **access, const links_http_access_options *options,
                          links_log_sink *sink, int *at)
{
    links_http_access *a = mem_new(links_http_access);
    struct timespec ts;
    a->options = *options;
    a->options.format = NULL;
    a->refs = 1;
    a->second = -1;
    a->sink = log_sink_retain(log_sink_of(sink));
    log_line_init(&a->line);
    if (options->sample < 1)
        a->sample_below = options->sample > 0 ? (uint32_t)(options->sample * UINT32_MAX) + 1 : 1;
    clock_gettime(CLOCK_REALTIME, &ts);
    a->random = (uint64_t)ts.tv_nsec * 0x9e3779b97f4a7c15u + (uint64_t)ts.tv_sec + 1;
    if (options->format) {
        size_t len = strlen(options->format) + 1;
        a->format = memcpy(mem_alloc(len), options->format, len);
        int rc = compile(a, at);
        if (rc < 0) {
            http_access_release(a);
            return rc;
        }
    }
    *access = a;
    return 0;
}

void http_access_release(links_http_access *a)
{
    if (!a || --a->refs)
        return;
    log_sink_release(a->sink);
    mem_free(a->format);
    mem_free(a->ops);
    mem_free(a);
}

void links_http_access_free(links_http_access *a) { http_access_release(a); }

/* --- what there is to say ------------------------------------------------------------------ */

static text header(const subject *s, const char *name, size_t len)
{
    const http_request *r = s->request;
    if (!r)
        return (text){NULL, 0};
    const char *base = http_request_base(r);
    int i = http_head_find(&r->head, base, name, len, -1);
    if (i < 0)
        return (text){NULL, 0};
    return (text){base + r->head.fields[i].value, r->head.fields[i].value_len};
}

#define HEADER_OF(s, literal) header(s, literal, sizeof(literal) - 1)

static text response_header(const subject *s, const char *name, size_t len)
{
    int n = 0;
    const char *value = s->request ? links_http_get(&s->request->view, name, len, 0, &n) : NULL;
    return (text){value, value ? (size_t)n : 0};
}

/* That of the answer is the one that http.requestId has given or taken over. */
static text request_id(const subject *s)
{
    text id = response_header(s, "x-request-id", 12);
    return id.data ? id : HEADER_OF(s, "x-request-id");
}

/* What says who somebody is does not belong in a log. */
static bool is_secret(const char *name, size_t len)
{
    static const char *const secret[] = {"authorization", "proxy-authorization", "cookie",
                                         "set-cookie", "x-api-key"};
    for (size_t i = 0; i < sizeof(secret) / sizeof(*secret); i++)
        if (http_equals(name, len, secret[i], strlen(secret[i])))
            return true;
    return false;
}

static int of_base64(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* The name of basic authentication (RFC 7617), up to its colon: its length. */
static size_t user_of(text credentials, char out[USER_MAX])
{
    size_t n = 0;
    uint32_t bits = 0;
    int have = 0;
    if (credentials.len < 6 || !http_equals(credentials.data, 6, "basic ", 6))
        return 0;
    for (size_t i = 6; i < credentials.len && n < USER_MAX; i++) {
        int value = of_base64(credentials.data[i]);
        if (value < 0)
            break;
        bits = bits << 6 | (uint32_t)value;
        if ((have += 6) < 8)
            continue;
        have -= 8;
        char c = (char)(bits >> have);
        if (c == ':')
            break;
        out[n++] = c;
    }
    return n;
}

static void digits(char *at, int n, int count)
{
    for (int i = count; i-- > 0; n /= 10)
        at[i] = (char)('0' + n % 10);
}

/* "31/Jan/2026:12:00:00 +0100", in local time, as the combined format has it. */
static void make_time(links_http_access *a, int64_t second)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t t = (time_t)second;
    struct tm tm;
    localtime_r(&t, &tm);
    int minutes = (int)(tm.tm_gmtoff / 60);
    memcpy(a->time, "00/Jan/0000:00:00:00 +0000", TIME_LEN);
    digits(a->time, tm.tm_mday, 2);
    memcpy(a->time + 3, months + tm.tm_mon * 3, 3);
    digits(a->time + 7, tm.tm_year + 1900, 4);
    digits(a->time + 12, tm.tm_hour, 2);
    digits(a->time + 15, tm.tm_min, 2);
    digits(a->time + 18, tm.tm_sec, 2);
    a->time[21] = minutes < 0 ? '-' : '+';
    minutes = minutes < 0 ? -minutes : minutes;
    digits(a->time + 22, minutes / 60 * 100 + minutes % 60, 4);
    a->second = second;
}

/* The next note from *at on: name and value. */
static bool next_note(const http_request *r, uint32_t *at, text *name, text *value, bool *is_number)
{
    if (!r || *at >= r->notes_len)
        return false;
    const char *s = r->notes + *at;
    *is_number = s[0];
    *name = (text){s + 1, strlen(s + 1)};
    *value = (text){s + name->len + 2, strlen(s + name->len + 2)};
    *at += (uint32_t)(name->len + value->len + 3);
    return true;
}

static text note(const subject *s, const char *wanted, size_t len)
{
    text name, value, found = {NULL, 0};
    bool is_number;
    uint32_t at = 0;
    while (next_note(s->request, &at, &name, &value, &is_number))
        if (name.len == len && memcmp(name.data, wanted, len) == 0)
            found = value;
    return found;
}

/* --- text ---------------------------------------------------------------------------------- */

static void put_text(log_line *l, text t)
{
    if (t.data && t.len)
        log_line_escape(l, t.data, t.len, LOG_QUOTED, l->view.len + LOG_VALUE_MAX);
    else
        log_line_put(l, "-", 1);
}

static void put_word(log_line *l, const char *s) { log_line_put(l, s, strlen(s)); }

/* Milliseconds, to the microsecond. */
static void put_ms(log_line *l, double ms)
{
    uint64_t us = (uint64_t)(ms * 1000);
    char rest[4] = ".000";
    digits(rest + 1, (int)(us % 1000), 3);
    log_line_put_uint(l, us / 1000);
    log_line_put(l, rest, 4);
}

/* Whom a trusted proxy tells of, or the connection's other end. */
static address client_of(const subject *s)
{
    http_client client = {.at = s->conn->peer};
    if (s->request)
        http_client_of(s->request, &client);
    return client.at;
}

/* "unix:" for one that has no address, as req.remoteAddress has it. */
static text remote_address(const subject *s, char out[static ADDRESS_TEXT_MAX])
{
    address client = client_of(s);
    int n = address_format(&client, out);
    return n ? (text){out, (size_t)n} : (text){"unix:", 5};
}

/* Nothing in it has to be escaped. */
static void put_address(log_line *l, text t) { log_line_put(l, t.data, t.len); }

static void put_port(const subject *s, log_line *l)
{
    unsigned port = client_of(s).port;
    if (port)
        log_line_put_uint(l, port);
    else
        log_line_put(l, "-", 1); /* proxies seldom tell it */
}

static text target(const subject *s)
{
    if (!s->request)
        return (text){NULL, 0};
    return (text){s->request->view.url, s->request->view.url_len};
}

static text part_of_target(const subject *s, bool query)
{
    int len = -1;
    if (!s->request)
        return (text){NULL, 0};
    const char *at = query ? links_http_query(&s->request->view, &len)
                           : links_http_path(&s->request->view, &len);
    return len < 0 ? (text){NULL, 0} : (text){at, (size_t)len};
}

static void put_user(const subject *s, log_line *l)
{
    char user[USER_MAX];
    text credentials = HEADER_OF(s, "authorization");
    put_text(l, (text){user, credentials.data ? user_of(credentials, user) : 0});
}

static text visible(const char *name, size_t len, text value)
{
    return value.data && is_secret(name, len) ? (text){"[redacted]", 10} : value;
}

static uint64_t body_sent(const subject *s)
{
    return s->request ? s->request->res.sent - s->request->res.head_sent : 0;
}

/* A server may listen at many places. */
static uint64_t local_port(const subject *s)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    address local = {0};
    if (stream_is_open(&s->conn->stream) &&
        getsockname(s->conn->stream.io.fd, (struct sockaddr *)&ss, &len) == 0)
        address_from_sockaddr(&local, &ss);
    return local.port;
}

static void put_variable(const subject *s, log_line *l, const op *o)
{
    const links_http_access *a = s->access;
    const http_request *r = s->request;
    const char *name = a->format + o->at;
    char address[ADDRESS_TEXT_MAX];
    switch (o->variable) {
    case LITERAL:
        log_line_put(l, name, o->len);
        break;
    case REMOTE_ADDRESS:
        put_address(l, remote_address(s, address));
        break;
    case REMOTE_PORT:
        put_port(s, l);
        break;
    case REMOTE_USER:
        put_user(s, l);
        break;
    case LOCAL_PORT:
        log_line_put_uint(l, local_port(s));
        break;
    case TIME:
        log_line_put(l, a->time, TIME_LEN);
        break;
    case TIME_ISO:
        log_line_put_time(l, s->now_ns);
        break;
    case MSEC:
        log_line_put_uint(l, (uint64_t)s->now_ns / 1000000);
        break;
    case METHOD:
        put_word(l, r ? links_http_method(r->view.method) : "-");
        break;
    case URL:
        put_text(l, target(s));
        break;
    case PATH:
        put_text(l, part_of_target(s, false));
        break;
    case QUERY:
        put_text(l, part_of_target(s, true));
        break;
    case VERSION:
        put_word(l, !r ? "-" : r->view.minor ? "1.1" : "1.0");
        break;
    case STATUS:
        log_line_put_uint(l, (uint64_t)s->status);
        break;
    case BYTES:
        log_line_put_uint(l, body_sent(s));
        break;
    case BYTES_SENT:
        log_line_put_uint(l, r ? r->res.sent : 0);
        break;
    case BYTES_RECEIVED:
        log_line_put_uint(l, r ? (uint64_t)r->body_read : 0);
        break;
    case DURATION:
        put_ms(l, s->duration);
        break;
    case HOST:
        put_text(l, HEADER_OF(s, "host"));
        break;
    case REFERER:
        put_text(l, HEADER_OF(s, "referer"));
        break;
    case USER_AGENT:
        put_text(l, HEADER_OF(s, "user-agent"));
        break;
    case REQUEST_ID:
        put_text(l, request_id(s));
        break;
    case ABORTED_FLAG:
        put_word(l, s->aborted ? "aborted" : "-");
        break;
    case HEADER:
        put_text(l, visible(name, o->len, header(s, name, o->len)));
        break;
    case RESPONSE_HEADER:
        put_text(l, visible(name, o->len, response_header(s, name, o->len)));
        break;
    case NOTE:
        put_text(l, note(s, name, o->len));
        break;
    }
}

/* --- JSON ---------------------------------------------------------------------------------- */

static void put_key(log_line *l, const char *name) { links_log_key(&l->view, name, strlen(name)); }

static void put_member(log_line *l, const char *name, text t)
{
    if (!t.data)
        return;
    put_key(l, name);
    links_log_string(&l->view, t.data, t.len);
}

static void put_number_member(log_line *l, const char *name, double n)
{
    put_key(l, name);
    links_log_number(&l->view, n);
}

static void put_notes(const subject *s, log_line *l)
{
    text name, value;
    bool is_number;
    uint32_t at = 0;
    while (next_note(s->request, &at, &name, &value, &is_number)) {
        links_log_key(&l->view, name.data, name.len);
        if (is_number)
            links_log_word(&l->view, value.data, value.len);
        else
            links_log_string(&l->view, value.data, value.len);
    }
}

static void put_members(const subject *s, log_line *l)
{
    const http_request *r = s->request;
    char address[ADDRESS_TEXT_MAX];
    put_member(l, "remoteAddress", remote_address(s, address));
    if (r) {
        const char *method = links_http_method(r->view.method);
        put_member(l, "method", (text){method, strlen(method)});
        put_member(l, "url", target(s));
        put_member(l, "version", (text){r->view.minor ? "1.1" : "1.0", 3});
    }
    put_number_member(l, "status", s->status);
    put_number_member(l, "bytes", (double)body_sent(s));
    put_key(l, "duration");
    l->comma = true;
    put_ms(l, s->duration);
    put_member(l, "host", HEADER_OF(s, "host"));
    put_member(l, "referer", HEADER_OF(s, "referer"));
    put_member(l, "userAgent", HEADER_OF(s, "user-agent"));
    put_member(l, "requestId", request_id(s));
    if (s->aborted) {
        put_key(l, "aborted");
        links_log_word(&l->view, "true", 4);
    }
    put_notes(s, l);
}

static void put_json(const subject *s, log_line *l)
{
    log_line_put(l, "{\"time\":\"", 9);
    log_line_put_time(l, s->now_ns);
    log_line_put(l, "\"", 1);
    l->comma = true;
    put_members(s, l);
}

/* --- lines --------------------------------------------------------------------------------- */

static uint32_t next_random(links_http_access *a)
{
    a->random ^= a->random << 13;
    a->random ^= a->random >> 7;
    a->random ^= a->random << 17;
    return (uint32_t)(a->random >> 32);
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

/* Two looks at the system's clocks cost as much as the rest of a line does. So once a second they
 * are looked at, and in between the processor's counter is. */
static void synchronize(links_http_access *a)
{
    int64_t now = clock_ns(CLOCK_MONOTONIC);
    uint64_t ticks = ticks_now();
    int64_t passed = now - a->synced_ns;
    a->ns_per_tick = 0;
    if (passed < SYNC_MAX_NS && ticks > a->synced_ticks)
        a->ns_per_tick = (double)passed / (double)(ticks - a->synced_ticks);
    a->synced_ns = now;
    a->synced_ticks = ticks;
    a->offset_ns = clock_ns(CLOCK_REALTIME) - now;
}

/* The monotonic time; `loop_ns` is that of the loop's turn. */
static int64_t time_now(links_http_access *a, int64_t loop_ns)
{
    if (loop_ns - a->synced_ns > SYNC_NS || !a->synced_ns)
        synchronize(a);
    int64_t passed = (int64_t)((double)(ticks_now() - a->synced_ticks) * a->ns_per_tick);
    if (a->ns_per_tick > 0 && passed >= 0 && passed < SYNC_MAX_NS)
        return a->synced_ns + passed;
    return clock_ns(CLOCK_MONOTONIC);
}

static void put_line(links_http_access *a, subject *s)
{
    log_line *l = &a->line;
    if (a->format) {
        if (s->now_ns / 1000000000 != a->second)
            make_time(a, s->now_ns / 1000000000);
        log_line_start(l, LINKS_LOG_TEXT);
        for (int i = 0; i < a->count; i++)
            put_variable(s, l, &a->ops[i]);
        if (a->options.records) {
            log_line_put(l, "\t", 1);
            l->format = LINKS_LOG_JSON;
            put_json(s, l);
        }
    } else {
        log_line_start(l, LINKS_LOG_JSON);
        put_json(s, l);
    }
    log_line_finish(l);
    log_sink_put(a->sink, l, LINKS_LOG_INFO);
}

static void write_line(links_http_access *a, http_conn *c, http_request *r, int status,
                       bool aborted)
{
    if (status < a->options.min_status)
        return;
    if (a->sample_below && next_random(a) >= a->sample_below)
        return;
    int64_t now = time_now(a, (int64_t)ev_now_ns(c->server->net->loop));
    double duration = r ? (double)(now - (int64_t)r->start_ns) / 1e6 : 0;
    if (duration < a->options.min_duration)
        return;
    subject s = {.access = a,
                 .conn = c,
                 .request = r,
                 .now_ns = now + a->offset_ns,
                 .duration = duration > 0 ? duration : 0,
                 .status = status,
                 .aborted = aborted};
    put_line(a, &s);
}

void http_access_begin(http_request *r, links_http_access *a)
{
    http_access_release(r->access);
    r->access = a;
    a->refs++;
}

/* A reset that nobody has read yet. One who only says that he sends no more may still listen. */
static bool was_reset(const http_conn *c)
{
    char byte;
    return c->stream.hung_up && recv(c->stream.io.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           errno != EAGAIN && errno != EWOULDBLOCK;
}

void http_access_log(http_request *r)
{
    links_http_access *a = r->access;
    bool aborted = !http_conn_is_alive(r->conn) || r->res.broken || was_reset(r->conn);
    int status = r->res.status ? r->res.status : ABORTED;
    if (status == 101)
        aborted = false; /* another protocol has the connection now */
    r->access = NULL;
    write_line(a, r->conn, r, status, aborted);
    http_access_release(a);
}

void http_access_refused(http_conn *c, int status)
{
    http_request *r = c->req;
    /* One that was complete, but too large, is known; else the head may be anything. */
    if (r && r->access) {
        r->res.status = status;
        http_access_log(r);
    } else {
        write_line(c->server->access, c, NULL, status, false);
    }
}

void links_http_access_server(links_http_server *server, links_http_access *access)
{
    http_server *s = (http_server *)server;
    if (access)
        access->refs++;
    http_access_release(s->access);
    s->access = access;
}

void links_http_access_request(links_http_req *lr, links_http_access *access)
{
    http_access_begin((http_request *)lr, access);
}

int links_http_note(links_http_req *lr, const char *name, size_t name_len, const char *value,
                    size_t value_len, int is_number)
{
    http_request *r = (http_request *)lr;
    size_t len = name_len + value_len + 3;
    if (r->notes_len + len > HTTP_NOTES_MAX)
        return LINKS_FULL;
    if (!r->notes)
        r->notes = mem_alloc(HTTP_NOTES_MAX);
    char *at = r->notes + r->notes_len;
    at[0] = is_number ? 1 : 0;
    memcpy(at + 1, name, name_len);
    at[1 + name_len] = 0;
    memcpy(at + 2 + name_len, value, value_len);
    at[2 + name_len + value_len] = 0;
    r->notes_len += (uint32_t)len;
    return 0;
}
