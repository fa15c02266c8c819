/*
 * The error codes of links. A C function answers a count or 0, or a negative code: -errno for
 * what the system said, and links' own codes, which begin beyond every errno. Lua sees the code
 * without its sign, the name and the message (see the table in the API page "Conventions").
 */
#ifndef LINKS_BASE_ERR_H
#define LINKS_BASE_ERR_H

#define LINKS_API __attribute__((visibility("default")))

enum {
    /* Not an error: the coroutine has been parked; yield, and call again after the wake. */
    LINKS_AGAIN = -19999,

    LINKS_EOF = -20001,
    LINKS_CLOSED = -20002,
    LINKS_EXCEED_BUF_SIZE = -20003,
    LINKS_TOO_LARGE = -20004,
    LINKS_PARSE = -20005,
    LINKS_PROTOCOL = -20006,
    LINKS_UNSUPPORTED = -20007,
    LINKS_POOL_FULL = -20008,
    LINKS_POOL_TIMEOUT = -20009,
    LINKS_SHUTTING_DOWN = -20010,
    LINKS_NOT_FOUND = -20011,
    LINKS_EXISTS = -20012,
    LINKS_FULL = -20013,
    LINKS_LOCKED = -20014,
    LINKS_TYPE = -20015,

    /* The deadline of an enclosing task.withTimeout: Lua sees ETIMEDOUT with err.deadline. */
    LINKS_DEADLINE = -20016,
    /* A wait that is impossible where it stands, below table.sort say: lib/links/errors.lua. */
    LINKS_REFUSED = -20017,

    LINKS_HTTP_BAD_REQUEST = -21001,
    LINKS_HTTP_HEADERS_TOO_LARGE = -21002,
    LINKS_HTTP_BODY_TOO_LARGE = -21003,
    LINKS_HTTP_BAD_FRAMING = -21004,
    LINKS_HTTP_TOO_MANY_REDIRECTS = -21005,
    LINKS_HTTP_DECOMPRESS = -21006,
    LINKS_HTTP_HEADERS_SENT = -21007,
    LINKS_HTTP_BAD_URL = -21008,
    LINKS_HTTP_BAD_STATUS = -21009,
    LINKS_HTTP_BAD_CHECKSUM = -21010,
    LINKS_HTTP_UPGRADE_REQUIRED = -21011,

    LINKS_TLS_HANDSHAKE = -22001,
    LINKS_TLS_CERT_VERIFY = -22002,
    LINKS_TLS_HOSTNAME = -22003,
    LINKS_TLS_NO_ALPN = -22004,
    LINKS_TLS_ALERT = -22005,
    LINKS_TLS_TRUNCATED = -22006,
    LINKS_TLS_CONFIG = -22007,

    LINKS_WS_CLOSED = -23001,
    LINKS_WS_BAD_HANDSHAKE = -23002,
    LINKS_WS_TOO_LARGE = -23003,
    LINKS_WS_PROTOCOL = -23004,

    LINKS_JWT_EXPIRED = -25001,
    LINKS_JWT_EARLY = -25002,
    LINKS_JWT_CLAIM = -25003,
};

/* The name of a code, of either sign ("ETIMEDOUT", "CLOSED"); "EUNKNOWN" for one nobody knows. */
LINKS_API const char *links_err_name(int code);

/* The message of a code, of either sign ("timed out"). Static storage. */
LINKS_API const char *links_err_message(int code);

#endif
