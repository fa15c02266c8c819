/*
 * permessage-deflate (RFC 7692): what two ends agree on, and the streams of zlib that do it. Where
 * no context is kept from message to message, connections share a few streams.
 */
#ifndef LINKS_MODULES_WEBSOCKET_DEFLATE_H
#define LINKS_MODULES_WEBSOCKET_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WS_BITS_MIN = 9, /* of a window: zlib makes no raw stream with 8 */
    WS_BITS_MAX = 15,
    WS_EXTENSION_MAX = 160, /* bytes of a header field's value that we write */
};

/* What this end wants. */
typedef struct ws_deflate_options {
    bool on;
    bool server_no_context, client_no_context;
    uint8_t server_bits, client_bits; /* WS_BITS_MIN to WS_BITS_MAX */
} ws_deflate_options;

/* What was agreed on. */
typedef struct ws_deflate {
    bool on;
    bool out_context, in_context; /* kept from one message to the next */
    uint8_t out_bits;
} ws_deflate;

/* The server's side: takes the first offer of a Sec-WebSocket-Extensions field that it can keep.
 * Writes the answer's field into `answer`, WS_EXTENSION_MAX bytes, and returns its length; 0 where
 * nothing is agreed on. */
int ws_deflate_accept(ws_deflate *d, const ws_deflate_options *o, const char *offer, size_t len,
                      char *answer);

/* The client's side: writes the offer, and returns its length; 0 where it is off. */
int ws_deflate_offer(const ws_deflate_options *o, char *offer);

/* Takes the server's answer; false where that is none to our offer. */
bool ws_deflate_agree(ws_deflate *d, const ws_deflate_options *o, const char *answer, size_t len);

/* --- doing it -------------------------------------------------------------------------------- */

typedef struct ws_deflater ws_deflater;
typedef struct ws_inflater ws_inflater;

/* Compresses a message: *out with its `len` bytes stays until the next call of this. `own` is the
 * connection's stream, made at the first use, or NULL where there is no context to keep. NULL where
 * zlib fails. */
const char *ws_deflate_message(ws_deflater **own, int level, int bits, const char *data, size_t len,
                               size_t *out_len);

/* Decompresses a piece of a message into `buf`, which grows by mem_realloc: its bytes are `*len` of
 * `*size`. `last`: the message ends. 0, or the negative status to close with: what is more than
 * `max` bytes (0: no limit) is too large. *in is the stream, NULL at first; where `keep` is not set
 * it goes back after the message. */
int ws_inflate(ws_inflater **in, bool keep, const uint8_t *data, size_t data_len, bool last,
               char **buf, size_t *len, size_t *size, size_t max);

void ws_deflater_free(ws_deflater *d);
void ws_inflater_free(ws_inflater *i);

/* Frees what connections share. */
void ws_deflate_close(void);

#endif
