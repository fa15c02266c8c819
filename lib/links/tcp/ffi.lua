-- The C side of TCP and Unix sockets, as src/modules/net/tcp.h declares it.
local ffi = require "ffi"

ffi.cdef [[
typedef struct links_tcp_options {
    int timeout;
    int nodelay, keepalive;
    int keepidle;
    int read_buffer_size;
    int backlog, reuseport, v6only, max_connections, proxy_protocol, defer_accept;
    int fast_open;
    int pass_fds;
    const char *local_address;
    int local_port;
} links_tcp_options;
typedef struct links_unix_options {
    int mode;
    int unlink_stale;
    double uid, gid;
} links_unix_options;
typedef struct links_tcp {
    double bytes_read, bytes_written;
    int32_t closed;
    int32_t read_buffer_size;
} links_tcp;
typedef struct links_tcp_server {
    int32_t status;
    int32_t connections;
    int32_t port;
    int32_t family;
    int32_t listening, paused;
    double accepted, refused, rejected, leaked;
} links_tcp_server;
typedef struct links_tcp_address {
    int32_t family, port, len;
    char text[112];
} links_tcp_address;
int links_tcp_is_ip(const char *text, size_t len);
int links_tcp_listen(links_tcp_server **server, const char *host, int port,
                               const links_tcp_options *options);
int links_tcp_listen_fd(links_tcp_server **server, int fd,
                                  const links_tcp_options *options);
int links_unix_listen(links_tcp_server **server, const char *path, size_t len,
                                const links_unix_options *file, const links_tcp_options *options);
links_tcp *links_tcp_accept(links_tcp_server *server);
void links_tcp_pause(links_tcp_server *server, int on);
void links_tcp_stop(links_tcp_server *server);
void links_tcp_server_unref(links_tcp_server *server);
int links_tcp_drained(links_tcp_server *server, double timeout_ms);
void links_tcp_abort(links_tcp_server *server);
void links_tcp_server_free(links_tcp_server *server);
void links_tcp_stats(links_tcp_server *server);
void links_tcp_reject(links_tcp_server *server);
void links_tcp_server_address(links_tcp_server *server, links_tcp_address *out);
int links_tcp_server_fd(links_tcp_server *server);
int links_tcp_connect(links_tcp **socket, const char *host, int port,
                                const links_tcp_options *options);
int links_unix_connect(links_tcp **socket, const char *path, size_t len,
                                 const links_tcp_options *options);
int links_tcp_adopt(links_tcp **socket, int fd, const links_tcp_options *options);
int links_tcp_connected(links_tcp *socket, double timeout_ms);
int links_tcp_proxy(links_tcp *socket, double timeout_ms);
int links_tcp_proxy_header(char *out, int version, const char *source, int source_port,
                                     const char *destination, int destination_port);
void links_tcp_close(links_tcp *socket, int reset);
void links_tcp_free(links_tcp *socket);
int links_tcp_shutdown(links_tcp *socket);
int links_tcp_local(links_tcp *socket, links_tcp_address *out);
int links_tcp_remote(links_tcp *socket, links_tcp_address *out);
int links_unix_credentials(links_tcp *socket, int *uid, int *gid, int *pid);
void links_tcp_timeout(links_tcp *socket, int ms);
void links_tcp_timeouts(links_tcp *socket, int read_ms, int write_ms);
int links_tcp_set(links_tcp *socket, const char *name, int value);
int links_tcp_get(links_tcp *socket, const char *name, int *value);
void links_tcp_ref(links_tcp *socket, int on);
int links_tcp_peek(links_tcp *socket, int n, const char **data);
int links_tcp_read_into(links_tcp *socket, void *to, size_t n);
int links_tcp_read_until(links_tcp *socket, const char *sep, size_t sep_len, int max,
                                   int keep, const char **data);
int links_tcp_quiet(links_tcp *socket);
int links_tcp_left(links_tcp *socket);
int links_tcp_expired(links_tcp *socket, int writing);
typedef struct links_tcp_bytes {
    const void *data;
    size_t len;
} links_tcp_bytes;
int links_tcp_writev(links_tcp *socket, const links_tcp_bytes *pieces, int count);
void links_tcp_write_over(links_tcp *socket);
int links_tcp_flush(links_tcp *socket);
void links_tcp_cork(links_tcp *socket, int on);
int links_tcp_open_file(const char *path, double *size);
int links_tcp_file_size(int fd, double *size);
int links_tcp_send_file(links_tcp *socket, int fd, double offset, double len);
int links_tcp_fd(links_tcp *socket);
int links_tcp_send_fd(links_tcp *socket, int fd, const char *data, size_t len);
int links_tcp_receive_fd(links_tcp *socket);
int links_tcp_close_fd(int fd);
typedef struct links_tcp_relay {
    double bytes;
} links_tcp_relay;
int links_tcp_relay_start(links_tcp_relay **relay, links_tcp *from, links_tcp *to,
                                    int splice);
int links_tcp_relay_wait(links_tcp_relay *relay);
void links_tcp_relay_free(links_tcp_relay *relay);
]]

return {
    C = ffi.C,
    AGAIN = -19999,
    EOF = -20001,
    CLOSED = -20002,
    EXCEED_BUF_SIZE = -20003,
    TOO_LARGE = -20004,
    PROTOCOL = -20006,
    NOT_FOUND = -20011,
    DEADLINE = -20016,
}
