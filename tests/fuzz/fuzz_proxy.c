/*
 * PROXY headers as they could come, whole and growing byte by byte: the answer must not change once
 * it is there, must not reach beyond what was given, and must be the same whatever follows.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "modules/net/proxy.h"

/* From a copy of exactly that size, so that ASan sees one byte too many. */
static int parse(proxy_header *header, const uint8_t *data, size_t len)
{
    char *copy = malloc(len ? len : 1);
    if (!copy)
        abort();
    memcpy(copy, data, len);
    int rc = proxy_parse(header, copy, len);
    free(copy);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    proxy_header whole, part;
    int rc = parse(&whole, data, size);
    assert(rc >= 0 || rc == LINKS_PROTOCOL);
    assert(rc <= (int)size && rc <= PROXY_HEADER_MAX);
    assert(rc != 0 || size < PROXY_HEADER_MAX);
    assert(whole.source.family == whole.destination.family || rc < 0);

    /* What was understood is said again, and understood again. */
    for (int version = 1; rc > 0 && version <= 2; version++) {
        char again[PROXY_V1_MAX];
        int n = proxy_build(&whole, version, again);
        assert(n > 0 && n <= PROXY_V1_MAX);
        assert(parse(&part, (const uint8_t *)again, (size_t)n) == n);
        assert(memcmp(&part, &whole, sizeof(part)) == 0);
    }

    size_t end = size < 300 ? size : 300;
    for (size_t len = 0; len <= end; len++) {
        int early = parse(&part, data, len);
        if (early == 0)
            continue;
        assert(early == rc);
        assert(early < 0 || (size_t)early == len);
        assert(early < 0 || memcmp(&part, &whole, sizeof(part)) == 0);
        break;
    }
    return 0;
}
