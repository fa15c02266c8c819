/*
 * What both ends compute of a handshake (RFC 6455, 4): the answer to a key.
 */
#ifndef LINKS_MODULES_WEBSOCKET_HANDSHAKE_H
#define LINKS_MODULES_WEBSOCKET_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>

enum { WS_KEY_LEN = 24, WS_ACCEPT_LEN = 28 };

/* Whether a Sec-WebSocket-Key is 16 bytes in base64. */
bool ws_key_is_valid(const char *key, size_t len);

/* The Sec-WebSocket-Accept to a key of WS_KEY_LEN characters. */
void ws_accept_of(const char *key, char accept[WS_ACCEPT_LEN + 1]);

/* A new key. */
void ws_new_key(char key[WS_KEY_LEN + 1]);

#endif
