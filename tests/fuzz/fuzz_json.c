/*
 * The reader of JSON: no byte beyond the text, nodes that add up, strings that lie within the text
 * or are their own. What can be read is also escaped again, into exactly the room that is promised.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsontext.h"
#include "modules/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every node is part of exactly one value. */
static int skip_value(const links_json_node *nodes, int i)
{
    int left = 1;
    for (; left > 0; i++) {
        left--;
        if (nodes[i].kind == JSON_ARRAY)
            left += (int)nodes[i].len;
        if (nodes[i].kind == JSON_OBJECT)
            left += 2 * (int)nodes[i].len;
    }
    return i;
}

static void escape(const char *s, size_t len)
{
    char *out = malloc(6 * len + 1);
    size_t n = (size_t)(jsontext_escape(out, s, len) - out);
    if (n < len || (n == len) != (jsontext_skip_plain(s, s + len) == s + len))
        abort();
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static links_json *json;
    if (!json)
        json = links_json_new();
    for (int flags = 0; flags <= JSON_COMMENTS; flags++) {
        int n = links_json_parse(json, (const char *)data, size, 20, flags);
        if (n < 0) {
            if (json->at < 0 || json->at > (double)size || !json->message)
                abort();
            continue;
        }
        if (skip_value(json->nodes, 0) != n)
            abort();
        for (int i = 0; i < n; i++)
            if (json->nodes[i].kind == JSON_STRING)
                escape(json->nodes[i].text, json->nodes[i].len);
    }
    return 0;
}
