/*
 * What a protocol that begins as a request of HTTP needs: see also http_conn_move.
 */
#ifndef LINKS_MODULES_HTTP_UPGRADE_H
#define LINKS_MODULES_HTTP_UPGRADE_H

#include <stdbool.h>
#include <stddef.h>

/* Whether a list of tokens, separated by commas, has this one, which is in lower case. */
bool http_list_has(const char *value, size_t len, const char *token, size_t token_len);

#endif
