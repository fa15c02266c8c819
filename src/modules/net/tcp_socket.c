#include "tcp_socket.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "proxy.h"
#include "unix.h"

/* --- events -------------------------------------------------------------------------------- */

static tcp *tcp_at(stream *s) { return CONTAINER_OF(s, tcp, stream); }

static void discard_input(tcp *s);
static void go_on_closing(tcp *s);

static void on_readable(stream *st)
{
    tcp *s = tcp_at(st);
    if (s->view.closed) {
        if (s->discarding)
            discard_input(s);
        return;
    }
    if (s->relay_out)
        relay_run(s->relay_out);
    else if (!s->connecting)
        tcp_wake_reader(s);
}

static void on_room(tcp *s)
{
    if (s->relay_in)
        relay_run(s->relay_in);
    else
        tcp_wake_writer(s);
}

static void on_writable(stream *st)
{
    tcp *s = tcp_at(st);
    if (!s->view.closed)
        on_room(s);
}

static void on_drained(stream *st)
{
    tcp *s = tcp_at(st);
    s->active_ms = tcp_now(s);
    if (s->view.closed) {
        go_on_closing(s);
        return;
    }
    if (s->ended && !st->out_len)
        stream_shutdown(st);
    on_room(s);
}

static void on_failed(stream *st, int code)
{
    tcp *s = tcp_at(st);
    if (s->view.closed) {
        go_on_closing(s);
        return;
    }
    s->write_error = code;
    tcp_fail_writers(s, code);
    if (s->relay_in)
        relay_end(s->relay_in, code);
}

const stream_ops tcp_stream_ops = {
    .readable = on_readable,
    .drained = on_drained,
    .failed = on_failed,
    .writable = on_writable,
};

/* --- life ---------------------------------------------------------------------------------- */

static void on_timer(ev_loop *loop, ev_timer *timer);
static void end_orphan(net_orphan *orphan);

static tcp *init(tcp *s)
{
    list_init(&s->link);
    list_init(&s->orphan.link);
    s->orphan.end = end_orphan;
    waitq_init(&s->readers);
    waitq_init(&s->writers);
    waitq_init(&s->turn);
    ev_timer_init(&s->timer, on_timer);
    s->active_ms = tcp_now(s);
    return s;
}

tcp *tcp_new(net *n, int fd, const links_tcp_options *options, int *rc)
{
    tcp *s = mem_new(tcp);
    *rc = stream_open(&s->stream, n, fd, &tcp_stream_ops);
    if (*rc < 0) {
        close(fd);
        mem_free(s);
        return NULL;
    }
    s->view.read_buffer_size = options->read_buffer_size;
    s->read_timeout = s->write_timeout = options->timeout;
    if (options->pass_fds)
        tcp_keep_fds(s);
    return init(s);
}

static void abort_guest(guest *g) { tcp_close(g->owner, true); }

static void retire_guest(guest *g) { (void)g; /* what it speaks is the program's affair */ }

tcp *tcp_new_moved(net *n, bool hosted)
{
    tcp *s = mem_new(tcp);
    s->stream.net = n;
    s->view.read_buffer_size = CHUNK_SIZE;
    if (hosted) {
        s->guest = mem_new(guest);
        *s->guest = (guest){.owner = s, .retire = retire_guest, .abort = abort_guest};
    }
    return init(s);
}

static void release(ev_release *r)
{
    mem_free(CONTAINER_OF(CONTAINER_OF(r, stream, release), tcp, stream));
}

static void free_if_done(tcp *s)
{
    if (s->over && s->freed)
        ev_release_later(s->stream.net->loop, &s->stream.release, release);
}

/* The descriptor is closed. */
static void finish(tcp *s)
{
    if (s->over)
        return;
    s->over = true;
    ev_timer_stop(s->stream.net->loop, &s->timer);
    list_remove(&s->orphan.link);
    list_remove(&s->link);
    if (s->server)
        tcp_server_forget(s->server);
    s->server = NULL;
    if (s->guest) {
        guest_leave(s->guest);
        mem_free(s->guest);
        s->guest = NULL;
    }
    free_if_done(s);
}

static void end_orphan(net_orphan *orphan)
{
    tcp *s = CONTAINER_OF(orphan, tcp, orphan);
    stream_close(&s->stream);
    finish(s);
}

void tcp_move(tcp *s, stream *to, const stream_ops *to_ops, chunk **in)
{
    *in = s->in;
    s->in = NULL;
    s->stream.held = false;
    stream_move(to, &s->stream, to_ops);
    tcp_close(s, true);
}

/* The peer of an orphan has not moved in time. */
static void on_timer(ev_loop *loop, ev_timer *timer)
{
    (void)loop;
    tcp *s = CONTAINER_OF(timer, tcp, timer);
    if (s->discarding)
        stream_close(&s->stream);
    else
        stream_abort(&s->stream);
    finish(s);
}

/* Reads what nobody will, until the peer has seen our end and closes his. */
static void discard_input(tcp *s)
{
    char sink[8192];
    size_t total = 0;
    ssize_t n;
    do {
        n = stream_read(&s->stream, sink, sizeof(sink));
        total += n > 0 ? (size_t)n : 0;
    } while (n > 0 && total < TCP_DISCARD_MAX && s->stream.readable);
    if (n == -EAGAIN || (n > 0 && total < TCP_DISCARD_MAX))
        return;
    stream_close(&s->stream);
    finish(s);
}

/* The output of an orphan has gone, or cannot go. Closing a socket that has unread input makes the
 * system send a reset, which may overtake our last bytes: so then only our side is shut down, and
 * the peer has a moment. */
static void finish_closing(tcp *s)
{
    char sink[8192];
    bool failed = s->write_error || s->read_error;
    /* From a peer who speaks TLS comes a ticket, though he has said nothing. */
    bool unread = s->stream.transport && s->view.bytes_read == 0;
    if (!failed && s->view.bytes_written > 0 &&
        (unread || (s->stream.readable && stream_read(&s->stream, sink, sizeof(sink)) > 0))) {
        stream_shutdown(&s->stream);
        s->discarding = true;
        if (list_empty(&s->orphan.link))
            list_push_back(&s->stream.net->orphans, &s->orphan.link);
        ev_timer_start(s->stream.net->loop, &s->timer, TCP_DISCARD_MS, 0);
        if (s->stream.readable)
            discard_input(s);
        return;
    }
    stream_close(&s->stream);
    finish(s);
}

static void go_on_closing(tcp *s)
{
    if (s->over || s->discarding)
        return;
    if (stream_is_open(&s->stream) && s->stream.out_len) {
        if (list_empty(&s->orphan.link))
            list_push_back(&s->stream.net->orphans, &s->orphan.link);
        ev_timer_start(s->stream.net->loop, &s->timer, TCP_LINGER_MS, 0);
        return;
    }
    finish_closing(s);
}

void tcp_close(tcp *s, bool reset)
{
    if (s->view.closed) {
        if (reset && !s->over) {
            stream_abort(&s->stream);
            finish(s);
        }
        return;
    }
    s->view.closed = 1;
    if (s->relay_out)
        relay_end(s->relay_out, LINKS_CLOSED);
    if (s->relay_in)
        relay_end(s->relay_in, LINKS_CLOSED);
    waitq_wake_all(&s->readers, LINKS_CLOSED);
    tcp_fail_writers(s, LINKS_CLOSED);
    chunk_put(&s->stream.net->chunks, s->in);
    s->in = NULL;
    tcp_drop_fds(s);
    if (reset) {
        stream_abort(&s->stream);
        finish(s);
        return;
    }
    s->stream.held = false;
    if (s->stream.out_len && s->stream.writable)
        stream_flush(&s->stream); /* goes on in on_drained, or in on_failed */
    else
        go_on_closing(s);
    /* Nothing was taken, and nobody has been told. */
    if (!s->over && !s->discarding && !ev_timer_active(&s->timer))
        go_on_closing(s);
}

void links_tcp_close(links_tcp *socket, int reset) { tcp_close(tcp_of(socket), reset); }

void links_tcp_free(links_tcp *socket)
{
    tcp *s = tcp_of(socket);
    if (s->freed)
        return;
    if (!s->view.closed && s->server)
        tcp_server_leaked(s->server);
    tcp_close(s, false);
    s->freed = true;
    free_if_done(s);
}

void tcp_discard(tcp *s)
{
    s->freed = true;
    tcp_close(s, true);
}

int links_tcp_shutdown(links_tcp *socket)
{
    tcp *s = tcp_of(socket);
    if (s->view.closed)
        return LINKS_CLOSED;
    if (s->connecting)
        return -ENOTCONN;
    if (s->write_error)
        return s->write_error;
    if (s->ended)
        return 0;
    s->ended = true;
    tcp_fail_writers(s, -EPIPE);
    if (s->stream.held)
        stream_release(&s->stream);
    if (!s->stream.out_len)
        stream_shutdown(&s->stream);
    return 0;
}

/* (1: break it off) */
static ptrdiff_t fast_close(fastcall *call)
{
    tcp_close(call->object, call->number == 1);
    return 0;
}

bool tcp_over_budget(tcp *s)
{
    uint64_t turn = ev_loop_stats(s->stream.net->loop)->turns;
    if (s->turn_id != turn) {
        s->turn_id = turn;
        s->calls = 0;
    }
    return s->calls++ >= TCP_TURN_CALLS;
}

void tcp_open(void)
{
    fastcall_add("tcpRead", tcp_fast_read);
    fastcall_add("tcpReadSome", tcp_fast_read_some);
    fastcall_add("tcpReadLine", tcp_fast_read_line);
    fastcall_add("tcpTake", tcp_fast_take);
    fastcall_add("tcpWrite", tcp_fast_write);
    fastcall_add("tcpClose", fast_close);
}

/* --- times --------------------------------------------------------------------------------- */

void links_tcp_timeout(links_tcp *socket, int ms)
{
    tcp *s = tcp_of(socket);
    s->read_timeout = s->write_timeout = ms;
    s->each_way = false;
}

void links_tcp_timeouts(links_tcp *socket, int read_ms, int write_ms)
{
    tcp *s = tcp_of(socket);
    s->read_timeout = read_ms;
    s->write_timeout = write_ms;
    s->each_way = true;
}

int links_tcp_expired(links_tcp *socket, int writing)
{
    tcp *s = tcp_of(socket);
    int timeout = writing ? s->write_timeout : s->read_timeout;
    if (s->view.closed || s->each_way || (writing ? s->write_error : s->read_error))
        return 1;
    int64_t rest = s->active_ms + timeout - tcp_now(s);
    if (rest <= 0 || rest > timeout)
        return 1;
    *(writing ? &s->write_rest : &s->read_rest) = (int)rest;
    return 0;
}

/* --- addresses ----------------------------------------------------------------------------- */

int links_tcp_is_ip(const char *text, size_t len)
{
    address a;
    if (memchr(text, '\0', len) || address_parse(&a, text, 0) < 0)
        return 0;
    return a.family;
}

static void export_address(const address *a, links_tcp_address *out)
{
    char text[ADDRESS_TEXT_MAX];
    out->len = address_format(a, text);
    memcpy(out->text, text, (size_t)out->len);
    out->family = a->family;
    out->port = a->port;
}

static int name_of(const tcp *s, links_tcp_address *out,
                   int (*ask)(int, struct sockaddr *restrict, socklen_t *restrict))
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);
    if (s->view.closed)
        return LINKS_CLOSED;
    if (ask(s->stream.io.fd, (struct sockaddr *)&ss, &len) < 0)
        return -errno;
    if (ss.ss_family == AF_UNIX) {
        *out = (links_tcp_address){0};
        out->len = unix_path_of((const struct sockaddr_un *)&ss, len, out->text);
        return 0;
    }
    address a;
    address_from_sockaddr(&a, &ss);
    export_address(&a, out);
    return 0;
}

int links_tcp_local(links_tcp *socket, links_tcp_address *out)
{
    tcp *s = tcp_of(socket);
    if (!s->local.family || s->view.closed)
        return name_of(s, out, getsockname);
    export_address(&s->local, out);
    return 0;
}

int links_tcp_remote(links_tcp *socket, links_tcp_address *out)
{
    tcp *s = tcp_of(socket);
    if (!s->peer.family || s->view.closed)
        return name_of(s, out, getpeername);
    export_address(&s->peer, out);
    return 0;
}

int links_unix_credentials(links_tcp *socket, int *uid, int *gid, int *pid)
{
    const tcp *s = tcp_of(socket);
    if (s->view.closed)
        return LINKS_CLOSED;
    return unix_credentials(s->stream.io.fd, uid, gid, pid);
}

/* --- the PROXY protocol's header -------------------------------------------------------------- */

int links_tcp_proxy_header(char *out, int version, const char *source, int source_port,
                           const char *destination, int destination_port)
{
    proxy_header header = {0};
    if (source && (address_parse(&header.source, source, source_port) < 0 ||
                   address_parse(&header.destination, destination, destination_port) < 0))
        return -EINVAL;
    return proxy_build(&header, version, out);
}

int links_tcp_proxy(links_tcp *socket, double timeout_ms)
{
    tcp *s = tcp_of(socket);
    int rc = tcp_read_begin(s);
    if (rc < 0)
        return rc;
    for (;;) {
        proxy_header header;
        int n = 0;
        if (s->in)
            n = proxy_parse(&header, s->in->data + s->in->start, tcp_have(s));
        if (n < 0)
            return n;
        if (n > 0) {
            tcp_consume(s, (uint32_t)n);
            if (header.source.family) {
                s->peer = header.source;
                s->local = header.destination;
            }
            return 0;
        }
        rc = tcp_fill(s, 0, PROXY_HEADER_MAX, (int)timeout_ms);
        if (rc < 0)
            return rc;
    }
}
