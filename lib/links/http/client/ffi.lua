-- The C side of the HTTP client, as src/modules/http/reply.h declares it.
local ffi = require "ffi"

ffi.cdef [[
typedef struct links_http_reply {
    double content_length;
    double used;
    const char *trailers;
    int32_t trailers_len;
    int32_t status;
    int32_t reason, reason_len;
    int32_t fields;
    int32_t location, location_len;
    int32_t idle_s;
    uint8_t minor;
    uint8_t framing;
    uint8_t coding;
    uint8_t keep_alive;
    uint8_t done;
} links_http_reply;
links_http_reply *links_http_reply_new(void);
void links_http_reply_free(links_http_reply *reply);
]]

return {
    C = ffi.C,
    NONE = 0,
    LENGTH = 1,
    CHUNKED = 2,
    CLOSE = 3,
    IDENTITY = 0,
    GZIP = 1,
    DEFLATE = 2,
    BROTLI = 3,
    ZSTD = 5,
    OTHER = 4,
}
