/*
 * Error codes by name and message. The messages are the house's own, so that an error reads the
 * same on every system and in every locale; what the table does not know, strerror may.
 */
#include "err.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

typedef struct entry {
    const char *name;
    const char *message;
} entry;

/* The codes of c-ares are 10000 plus its own: an interface of its library that does not change. */
enum {
    ARES_BASE = 10000,
    LINKS_BASE = 20000,
    HTTP_BASE = 21000,
    TLS_BASE = 22000,
    WS_BASE = 23000,
    JWT_BASE = 25000
};

#define LENGTH(table) ((int)(sizeof(table) / sizeof((table)[0])))

/* clang-format off */
static const entry errno_entries[] = {
    [E2BIG] = {"E2BIG", "argument list too long"},
    [EACCES] = {"EACCES", "permission denied"},
    [EADDRINUSE] = {"EADDRINUSE", "address already in use"},
    [EADDRNOTAVAIL] = {"EADDRNOTAVAIL", "address not available"},
    [EAFNOSUPPORT] = {"EAFNOSUPPORT", "address family not supported"},
    [EAGAIN] = {"EAGAIN", "resource temporarily unavailable"},
    [EALREADY] = {"EALREADY", "operation already in progress"},
    [EBADF] = {"EBADF", "bad file descriptor"},
    [EBADMSG] = {"EBADMSG", "bad message"},
    [EBUSY] = {"EBUSY", "resource busy"},
    [ECANCELED] = {"ECANCELED", "operation canceled"},
    [ECHILD] = {"ECHILD", "no such child process"},
    [ECONNABORTED] = {"ECONNABORTED", "connection aborted"},
    [ECONNREFUSED] = {"ECONNREFUSED", "connection refused"},
    [ECONNRESET] = {"ECONNRESET", "connection reset by peer"},
    [EDEADLK] = {"EDEADLK", "deadlock would occur"},
    [EDESTADDRREQ] = {"EDESTADDRREQ", "destination address required"},
    [EDOM] = {"EDOM", "argument out of domain"},
    [EDQUOT] = {"EDQUOT", "disk quota exceeded"},
    [EEXIST] = {"EEXIST", "file exists"},
    [EFAULT] = {"EFAULT", "bad address"},
    [EFBIG] = {"EFBIG", "file too large"},
    [EHOSTDOWN] = {"EHOSTDOWN", "host is down"},
    [EHOSTUNREACH] = {"EHOSTUNREACH", "host is unreachable"},
    [EIDRM] = {"EIDRM", "identifier removed"},
    [EILSEQ] = {"EILSEQ", "illegal byte sequence"},
    [EINPROGRESS] = {"EINPROGRESS", "operation in progress"},
    [EINTR] = {"EINTR", "interrupted system call"},
    [EINVAL] = {"EINVAL", "invalid argument"},
    [EIO] = {"EIO", "input/output error"},
    [EISCONN] = {"EISCONN", "socket is already connected"},
    [EISDIR] = {"EISDIR", "is a directory"},
    [ELOOP] = {"ELOOP", "too many levels of symbolic links"},
    [EMFILE] = {"EMFILE", "too many open files"},
    [EMLINK] = {"EMLINK", "too many links"},
    [EMSGSIZE] = {"EMSGSIZE", "message too long"},
    [ENAMETOOLONG] = {"ENAMETOOLONG", "file name too long"},
    [ENETDOWN] = {"ENETDOWN", "network is down"},
    [ENETRESET] = {"ENETRESET", "connection aborted by network"},
    [ENETUNREACH] = {"ENETUNREACH", "network is unreachable"},
    [ENFILE] = {"ENFILE", "too many open files in system"},
    [ENOBUFS] = {"ENOBUFS", "no buffer space available"},
    [ENODEV] = {"ENODEV", "no such device"},
    [ENOENT] = {"ENOENT", "no such file or directory"},
    [ENOEXEC] = {"ENOEXEC", "exec format error"},
    [ENOLCK] = {"ENOLCK", "no locks available"},
    [ENOMEM] = {"ENOMEM", "out of memory"},
    [ENOMSG] = {"ENOMSG", "no message of desired type"},
    [ENOPROTOOPT] = {"ENOPROTOOPT", "protocol not available"},
    [ENOSPC] = {"ENOSPC", "no space left on device"},
    [ENOSYS] = {"ENOSYS", "function not implemented"},
    [ENOTBLK] = {"ENOTBLK", "block device required"},
    [ENOTCONN] = {"ENOTCONN", "socket is not connected"},
    [ENOTDIR] = {"ENOTDIR", "not a directory"},
    [ENOTEMPTY] = {"ENOTEMPTY", "directory not empty"},
    [ENOTSOCK] = {"ENOTSOCK", "not a socket"},
    [ENOTSUP] = {"ENOTSUP", "operation not supported"},
    [ENOTTY] = {"ENOTTY", "not a terminal"},
    [ENXIO] = {"ENXIO", "no such device or address"},
#if EOPNOTSUPP != ENOTSUP
    [EOPNOTSUPP] = {"EOPNOTSUPP", "operation not supported on socket"},
#endif
    [EOVERFLOW] = {"EOVERFLOW", "value too large"},
    [EPERM] = {"EPERM", "operation not permitted"},
    [EPFNOSUPPORT] = {"EPFNOSUPPORT", "protocol family not supported"},
    [EPIPE] = {"EPIPE", "broken pipe"},
    [EPROTO] = {"EPROTO", "protocol error"},
    [EPROTONOSUPPORT] = {"EPROTONOSUPPORT", "protocol not supported"},
    [EPROTOTYPE] = {"EPROTOTYPE", "wrong protocol type for socket"},
    [ERANGE] = {"ERANGE", "result too large"},
    [EROFS] = {"EROFS", "read-only file system"},
    [ESHUTDOWN] = {"ESHUTDOWN", "socket has been shut down"},
    [ESOCKTNOSUPPORT] = {"ESOCKTNOSUPPORT", "socket type not supported"},
    [ESPIPE] = {"ESPIPE", "illegal seek"},
    [ESRCH] = {"ESRCH", "no such process"},
    [ESTALE] = {"ESTALE", "stale file handle"},
    [ETIMEDOUT] = {"ETIMEDOUT", "timed out"},
    [ETOOMANYREFS] = {"ETOOMANYREFS", "too many references"},
    [ETXTBSY] = {"ETXTBSY", "text file busy"},
    [EUSERS] = {"EUSERS", "too many users"},
    [EXDEV] = {"EXDEV", "cross-device link"},
    /* Missing on some system. */
#ifdef ENODATA
    [ENODATA] = {"ENODATA", "no data available"},
#endif
#ifdef ENOLINK
    [ENOLINK] = {"ENOLINK", "link has been severed"},
#endif
#ifdef ENOSR
    [ENOSR] = {"ENOSR", "out of streams resources"},
#endif
#ifdef ENOSTR
    [ENOSTR] = {"ENOSTR", "not a stream"},
#endif
#ifdef ETIME
    [ETIME] = {"ETIME", "timer expired"},
#endif
#ifdef EMULTIHOP
    [EMULTIHOP] = {"EMULTIHOP", "multihop attempted"},
#endif
#ifdef EOWNERDEAD
    [EOWNERDEAD] = {"EOWNERDEAD", "owner died"},
#endif
#ifdef ENOTRECOVERABLE
    [ENOTRECOVERABLE] = {"ENOTRECOVERABLE", "state not recoverable"},
#endif
};

static const entry ares_entries[] = {
    [1] = {"ARES_ENODATA", "the name has no record of this type"},
    [2] = {"ARES_EFORMERR", "the DNS server found the query malformed"},
    [3] = {"ARES_ESERVFAIL", "the DNS server failed"},
    [4] = {"ARES_ENOTFOUND", "domain name not found"},
    [5] = {"ARES_ENOTIMP", "the DNS server does not implement this query"},
    [6] = {"ARES_EREFUSED", "the DNS server refused the query"},
    [7] = {"ARES_EBADQUERY", "misformatted DNS query"},
    [8] = {"ARES_EBADNAME", "misformatted domain name"},
    [9] = {"ARES_EBADFAMILY", "unsupported address family"},
    [10] = {"ARES_EBADRESP", "misformatted DNS reply"},
    [11] = {"ARES_ECONNREFUSED", "could not reach the DNS servers"},
    [12] = {"ARES_ETIMEOUT", "timed out waiting for the DNS servers"},
    [13] = {"ARES_EOF", "end of file"},
    [14] = {"ARES_EFILE", "error reading a file"},
    [15] = {"ARES_ENOMEM", "out of memory"},
    [16] = {"ARES_EDESTRUCTION", "the resolver is being closed"},
    [17] = {"ARES_EBADSTR", "misformatted string"},
    [18] = {"ARES_EBADFLAGS", "illegal flags"},
    [19] = {"ARES_ENONAME", "the host name is not numeric"},
    [20] = {"ARES_EBADHINTS", "illegal hints"},
    [21] = {"ARES_ENOTINITIALIZED", "the resolver is not initialized"},
    [22] = {"ARES_ELOADIPHLPAPI", "could not load the network helper library"},
    [23] = {"ARES_EADDRGETNETWORKPARAMS", "could not find the network helper function"},
    [24] = {"ARES_ECANCELLED", "DNS query cancelled"},
    [25] = {"ARES_ESERVICE", "the service name is invalid"},
    [26] = {"ARES_ENOSERVER", "no DNS servers are configured"},
};

#define LINKS_ENTRY(code, message) [-LINKS_##code - LINKS_BASE] = {#code, message}

static const entry links_entries[] = {
    LINKS_ENTRY(EOF, "end of file"),
    LINKS_ENTRY(CLOSED, "closed on this side"),
    LINKS_ENTRY(EXCEED_BUF_SIZE, "the read buffer's size is exceeded"),
    LINKS_ENTRY(TOO_LARGE, "larger than the limit"),
    LINKS_ENTRY(PARSE, "malformed input"),
    LINKS_ENTRY(PROTOCOL, "the peer violated the protocol"),
    LINKS_ENTRY(UNSUPPORTED, "not supported"),
    LINKS_ENTRY(POOL_FULL, "the pool is full and its queue too"),
    LINKS_ENTRY(POOL_TIMEOUT, "timed out waiting for the pool"),
    LINKS_ENTRY(SHUTTING_DOWN, "shutting down"),
    LINKS_ENTRY(NOT_FOUND, "not found"),
    LINKS_ENTRY(EXISTS, "exists already"),
    LINKS_ENTRY(FULL, "full"),
    LINKS_ENTRY(LOCKED, "locked by another owner"),
    LINKS_ENTRY(TYPE, "the value is of another type"),
    [-LINKS_DEADLINE - LINKS_BASE] = {"ETIMEDOUT", "the deadline has passed"},
};

#define HTTP_ENTRY(code, message) [-LINKS_HTTP_##code - HTTP_BASE] = {"HTTP_" #code, message}

static const entry http_entries[] = {
    HTTP_ENTRY(BAD_REQUEST, "malformed request"),
    HTTP_ENTRY(HEADERS_TOO_LARGE, "the header fields are larger than the limit"),
    HTTP_ENTRY(BODY_TOO_LARGE, "the body is larger than the limit"),
    HTTP_ENTRY(BAD_FRAMING, "the length of the message is ambiguous or malformed"),
    HTTP_ENTRY(TOO_MANY_REDIRECTS, "too many redirects"),
    HTTP_ENTRY(DECOMPRESS, "the compressed body is corrupt"),
    HTTP_ENTRY(HEADERS_SENT, "the header fields have been sent already"),
    HTTP_ENTRY(BAD_URL, "malformed URL"),
    HTTP_ENTRY(BAD_STATUS, "another status than expected"),
    HTTP_ENTRY(BAD_CHECKSUM, "the checksum is not the expected one"),
    HTTP_ENTRY(UPGRADE_REQUIRED, "the request does not ask for this protocol"),
};

#define TLS_ENTRY(code, message) [-LINKS_TLS_##code - TLS_BASE] = {"TLS_" #code, message}

static const entry tls_entries[] = {
    TLS_ENTRY(HANDSHAKE, "the TLS handshake failed"),
    TLS_ENTRY(CERT_VERIFY, "the peer's certificate cannot be trusted"),
    TLS_ENTRY(HOSTNAME, "the peer's certificate is for another name"),
    TLS_ENTRY(NO_ALPN, "no protocol is spoken by both sides"),
    TLS_ENTRY(ALERT, "the peer ended the connection by a TLS alert"),
    TLS_ENTRY(TRUNCATED, "the connection was cut off: what came may not be all"),
    TLS_ENTRY(CONFIG, "the certificate, the key or an option of TLS cannot be used"),
};

#define WS_ENTRY(code, message) [-LINKS_WS_##code - WS_BASE] = {"WS_" #code, message}

static const entry ws_entries[] = {
    WS_ENTRY(CLOSED, "the websocket is closed"),
    WS_ENTRY(BAD_HANDSHAKE, "the answer is no websocket handshake"),
    WS_ENTRY(TOO_LARGE, "the message is larger than the limit"),
    WS_ENTRY(PROTOCOL, "the peer violated the websocket protocol"),
};

#define JWT_ENTRY(code, message) [-LINKS_JWT_##code - JWT_BASE] = {"JWT_" #code, message}

static const entry jwt_entries[] = {
    JWT_ENTRY(EXPIRED, "the token has expired"),
    JWT_ENTRY(EARLY, "the token is not valid yet"),
    JWT_ENTRY(CLAIM, "a claim of the token is not the one that is wanted"),
};
/* clang-format on */

static const entry again_entry = {"AGAIN", "the coroutine has been parked"};

static const struct {
    int base;
    const entry *entries;
    int len;
} tables[] = {
    {0, errno_entries, LENGTH(errno_entries)},
    {ARES_BASE, ares_entries, LENGTH(ares_entries)},
    {LINKS_BASE, links_entries, LENGTH(links_entries)},
    {HTTP_BASE, http_entries, LENGTH(http_entries)},
    {TLS_BASE, tls_entries, LENGTH(tls_entries)},
    {WS_BASE, ws_entries, LENGTH(ws_entries)},
    {JWT_BASE, jwt_entries, LENGTH(jwt_entries)},
};

/* -INT_MIN is no int; nobody has that code. */
static int positive(int code)
{
    if (code == INT_MIN)
        return 0;
    return code < 0 ? -code : code;
}

/* NULL for a code that no table knows. */
static const entry *find(int code)
{
    if (code == -LINKS_AGAIN)
        return &again_entry;
    for (int i = 0; i < LENGTH(tables); i++) {
        int n = code - tables[i].base;
        if (n > 0 && n < tables[i].len && tables[i].entries[n].name)
            return &tables[i].entries[n];
    }
    return NULL;
}

const char *links_err_name(int code)
{
    const entry *e = find(positive(code));
    return e ? e->name : "EUNKNOWN";
}

const char *links_err_message(int code)
{
    enum { ERRNO_END = 4096 };
    code = positive(code);
    const entry *e = find(code);
    if (e)
        return e->message;
    return code > 0 && code < ERRNO_END ? strerror(code) : "unknown error";
}
