/*
 * Header fields that ask for a kind of answer: ranges, encodings, entity tags, dates. The first
 * byte chooses one. What is found must lie within what there is.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "modules/http/fields.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_ranges(const char *value, size_t len, int64_t size)
{
    http_range ranges[HTTP_RANGES_MAX];
    int n = http_ranges(value, len, size, ranges);
    int64_t total = 0;
    assert(n >= HTTP_RANGES_NONE && n <= HTTP_RANGES_MAX);
    for (int i = 0; i < n; i++) {
        assert(ranges[i].from >= 0 && ranges[i].from <= ranges[i].to && ranges[i].to < size);
        total += ranges[i].to - ranges[i].from + 1;
    }
    assert(n < 2 || total <= size);
}

static void try_date(const char *value, size_t len)
{
    char text[32];
    int64_t t = http_date(value, len);
    assert(t >= -1);
    if (t < 0)
        return;
    http_put_date(text, t);
    assert(http_date(text, strlen(text)) == t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    /* A copy of exactly its length, so that one byte too many is seen. */
    size_t len = size - 1;
    char *value = malloc(len ? len : 1);
    if (!value)
        abort();
    memcpy(value, data + 1, len);
    switch (data[0] % 4) {
    case 0:
        try_ranges(value, len, 0);
        try_ranges(value, len, 1);
        try_ranges(value, len, 1000);
        try_ranges(value, len, INT64_MAX / 32);
        break;
    case 1:
        for (int i = 0; i < 3; i++) {
            static const char *const codings[] = {"gzip", "br", "identity"};
            int q = http_accept_encoding(value, len, codings[i]);
            assert(q >= -1 && q <= HTTP_Q_MAX);
        }
        break;
    case 2:
        /* What counts where the comparison is strong counts where it is weak. */
        if (http_etag_listed(value, len, "\"a\"", true))
            assert(http_etag_listed(value, len, "\"a\"", false));
        break;
    default:
        try_date(value, len);
    }
    free(value);
    return 0;
}
