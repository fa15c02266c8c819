/*
 * Frames of RFC 6455: the parser, which takes bytes as they come, unmasks them where they lie and
 * hands out pieces of messages, and what is needed to write frames. No socket, no memory of its
 * own: a head, or a control frame, that is not complete stays with the caller until more has come.
 */
#ifndef LINKS_MODULES_WEBSOCKET_FRAME_H
#define LINKS_MODULES_WEBSOCKET_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ws_opcode {
    WS_CONTINUATION = 0,
    WS_TEXT = 1,
    WS_BINARY = 2,
    WS_CLOSE = 8,
    WS_PING = 9,
    WS_PONG = 10,
};

enum ws_status {
    WS_STATUS_NORMAL = 1000,
    WS_STATUS_GOING_AWAY = 1001,
    WS_STATUS_PROTOCOL = 1002,
    WS_STATUS_NONE = 1005,     /* never sent: a close frame without a status */
    WS_STATUS_ABNORMAL = 1006, /* never sent: no close frame at all */
    WS_STATUS_INVALID = 1007,  /* text that is no UTF-8, compressed data that is none */
    WS_STATUS_POLICY = 1008,
    WS_STATUS_TOO_LARGE = 1009,
    WS_STATUS_FAILED = 1011,
};

enum {
    WS_HEAD_MAX = 14,
    WS_CONTROL_MAX = 125, /* bytes of a control frame's payload (RFC 6455, 5.5) */
    WS_FRAME_MIN = WS_HEAD_MAX + WS_CONTROL_MAX, /* room in which the parser always gets on */
};

/* Where a text stands between two of its bytes. */
typedef struct ws_utf8 {
    uint8_t need;   /* continuation bytes to come */
    uint8_t lo, hi; /* bounds of the next one */
} ws_utf8;

typedef struct ws_parser {
    uint64_t left;   /* of the frame's payload, still to come */
    uint64_t total;  /* bytes of the message so far, as they came */
    uint64_t max;    /* for those, unless they are compressed; 0: no limit */
    uint32_t frames; /* of the message */
    uint32_t max_frames;
    uint8_t mask[4]; /* of the next byte of payload on */
    ws_utf8 utf8;
    uint8_t opcode;  /* of the message that has begun; 0: none */
    bool in_frame;   /* behind the head of a frame of the message */
    bool final;      /* that frame is the message's last */
    bool begun;      /* a piece of the message has been handed out */
    bool compressed; /* the message is */
    bool masked;     /* frames must be: we are the server. Else they must not */
    bool deflate;    /* permessage-deflate was agreed on */
} ws_parser;

typedef struct ws_piece {
    uint8_t *data; /* unmasked, where it came */
    size_t len;
    uint8_t opcode; /* of the message, or of the control frame */
    bool compressed;
    bool begins, ends; /* the message */
} ws_piece;

enum {
    WS_MORE = 0,    /* give more, together with what was not used */
    WS_PIECE = 1,   /* some bytes of a message, maybe none at its end */
    WS_CONTROL = 2, /* a control frame */
};

/* A parser for frames that come from a client (`masked`) or from a server. */
void ws_parser_init(ws_parser *p, bool masked, bool deflate, uint64_t max, uint32_t max_frames);

/* Looks for the next piece in `data[*at..len)` and moves *at beyond what it has used. WS_MORE,
 * WS_PIECE, WS_CONTROL; or the negative status to close with. Text that is not compressed has been
 * checked; the rest of a message is for the caller to check. */
int ws_parse(ws_parser *p, uint8_t *data, size_t len, size_t *at, ws_piece *piece);

/* Checks the next bytes of a text; `ends`: it must not stop in the middle of a character. */
bool ws_utf8_check(ws_utf8 *u, const uint8_t *data, size_t len, bool ends);

/* `to` gets `from` masked by `mask`, or unmasked, which is the same. They may be one. */
void ws_mask(uint8_t *to, const uint8_t *from, size_t len, const uint8_t mask[4]);

/* Writes the head of an unfragmented frame, with `mask` unless that is NULL; its length. */
size_t ws_head(uint8_t *to, int opcode, bool compressed, uint64_t len, const uint8_t *mask);

/* The status in a close frame's payload: WS_STATUS_NONE for an empty one, or the negative status to
 * close with where it is malformed. */
int ws_close_status(const uint8_t *data, size_t len);

/* Whether an endpoint may send this status (RFC 6455, 7.4). */
bool ws_status_is_valid(int status);

#endif
