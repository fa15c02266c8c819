#include "modules/websocket/deflate.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "modules/websocket/frame.h"
#include "modules/websocket/handshake.h"

static const ws_deflate_options on = {.on = true, .server_bits = 15, .client_bits = 15};

static const char *accept_of(const ws_deflate_options *o, const char *offer, ws_deflate *d)
{
    static char answer[WS_EXTENSION_MAX];
    int n = ws_deflate_accept(d, o, offer, strlen(offer), answer);
    answer[n] = '\0';
    return answer;
}

Test(ws_deflate, answers_the_first_offer_that_can_be_kept)
{
    ws_deflate d;
    cr_assert_str_eq(accept_of(&on, "permessage-deflate", &d), "permessage-deflate");
    cr_assert(d.on && d.out_context && d.in_context);
    cr_assert_eq(d.out_bits, 15);
    cr_assert_str_eq(accept_of(&on,
                               "foo, permessage-deflate ; server_max_window_bits = 8 ,"
                               "permessage-deflate;server_max_window_bits=9",
                               &d),
                     "permessage-deflate; server_max_window_bits=9");
    cr_assert_eq(d.out_bits, 9);
    cr_assert_str_eq(
        accept_of(&on, "permessage-deflate; client_no_context_takeover; client_max_window_bits=12",
                  &d),
        "permessage-deflate; client_no_context_takeover; client_max_window_bits=12");
    cr_assert_not(d.in_context);
    cr_assert_str_eq(accept_of(&on, "", &d), "");
    cr_assert_str_eq(accept_of(&on, " , ,, ", &d), "");
    cr_assert_str_eq(accept_of(&on, "permessage-deflate junk", &d), "");
    cr_assert_not(d.on);
}

Test(ws_deflate, limits_windows_where_the_client_can_be_told)
{
    ws_deflate d;
    ws_deflate_options o = {.on = true, .server_bits = 10, .client_bits = 11};
    cr_assert_str_eq(accept_of(&o, "permessage-deflate", &d),
                     "permessage-deflate; server_max_window_bits=10");
    cr_assert_str_eq(accept_of(&o, "permessage-deflate; client_max_window_bits", &d),
                     "permessage-deflate; server_max_window_bits=10; client_max_window_bits=11");
    o.on = false;
    cr_assert_str_eq(accept_of(&o, "permessage-deflate", &d), "");
}

Test(ws_deflate, takes_answers_to_its_own_offer_only)
{
    static const struct {
        const char *answer;
        bool good;
    } cases[] = {
        {"", true},
        {"permessage-deflate", true},
        {"permessage-deflate; server_no_context_takeover", true},
        {"permessage-deflate; client_max_window_bits=9", true},
        {"permessage-deflate; client_max_window_bits=8", false},
        {"permessage-deflate; client_max_window_bits", false},
        {"permessage-deflate; server_max_window_bits=8", true},
        {"permessage-deflate, permessage-deflate", false},
        {"permessage-deflate; what", false},
        {"other", false},
    };
    ws_deflate d;
    char offer[WS_EXTENSION_MAX];
    cr_assert_gt(ws_deflate_offer(&on, offer), 0);
    cr_assert_str_eq(offer, "permessage-deflate; client_max_window_bits");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_assert_eq(ws_deflate_agree(&d, &on, cases[i].answer, strlen(cases[i].answer)),
                     cases[i].good, "%s", cases[i].answer);
    ws_deflate_options off = {.server_bits = 15, .client_bits = 15};
    cr_assert_not(ws_deflate_agree(&d, &off, "permessage-deflate", 18));
    ws_deflate_options strict = on;
    strict.server_no_context = true;
    strict.server_bits = 10;
    cr_assert_not(ws_deflate_agree(&d, &strict, "permessage-deflate", 18));
}

static char *buf;
static size_t len, size;
static ws_inflater *in;

static int inflate_all(const char *data, size_t n, bool keep, size_t max)
{
    len = 0;
    return ws_inflate(&in, keep, (const uint8_t *)data, n, true, &buf, &len, &size, max);
}

static void fini(void)
{
    ws_inflater_free(in);
    mem_free(buf);
    ws_deflate_close();
}

TestSuite(ws_inflate, .fini = fini);

Test(ws_inflate, gives_back_what_was_deflated_with_and_without_a_context)
{
    static const char text[] = "again and again and again and again";
    ws_deflater *own = NULL;
    size_t first = 0, n;
    for (int round = 0; round < 5; round++) {
        const char *out = ws_deflate_message(&own, 6, 15, text, sizeof(text), &n);
        cr_assert_not_null(out);
        cr_assert_eq(inflate_all(out, n, true, 0), 0);
        cr_assert_eq(len, sizeof(text));
        cr_assert_eq(memcmp(buf, text, len), 0);
        if (!round)
            first = n;
    }
    cr_assert_lt(n, first / 2, "the context is kept");
    ws_deflater_free(own);
    ws_inflater_free(in);
    in = NULL;
    for (int bits = WS_BITS_MIN; bits <= WS_BITS_MAX; bits++) {
        const char *out = ws_deflate_message(NULL, 9, bits, text, sizeof(text), &n);
        cr_assert_eq(inflate_all(out, n, false, 0), 0);
        cr_assert_eq(len, sizeof(text));
        cr_assert_null(in);
    }
    const char *out = ws_deflate_message(NULL, 6, 15, "", 0, &n);
    cr_assert_eq(inflate_all(out, n, false, 0), 0);
    cr_assert_eq(len, 0u);
}

Test(ws_inflate, stops_at_the_limit)
{
    size_t n, big = 1 << 20;
    char *zeros = calloc(1, big);
    const char *out = ws_deflate_message(NULL, 6, 15, zeros, big, &n);
    cr_assert_eq(inflate_all(out, n, true, 1000), -WS_STATUS_TOO_LARGE);
    cr_assert_leq(size, 4096u, "what is too much takes no memory");
    cr_assert_eq(inflate_all(out, n, true, big), 0);
    cr_assert_eq(inflate_all(out, n, true, big - 1), -WS_STATUS_TOO_LARGE);
    cr_assert_eq(inflate_all("\xff\xff\xff", 3, true, 0), -WS_STATUS_INVALID);
    free(zeros);
}

Test(ws_handshake, answers_the_key_of_the_rfc)
{
    char accept[WS_ACCEPT_LEN + 1], key[WS_KEY_LEN + 1], other[WS_KEY_LEN + 1];
    ws_accept_of("dGhlIHNhbXBsZSBub25jZQ==", accept);
    cr_assert_str_eq(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    ws_new_key(key);
    ws_new_key(other);
    cr_assert(ws_key_is_valid(key, strlen(key)));
    cr_assert_str_neq(key, other);
    cr_assert_not(ws_key_is_valid("dGhlIHNhbXBsZSBub25jZQ=", 23));
    cr_assert_not(ws_key_is_valid("dGhlIHNhbXBsZSBub25jZ*==", 24));
    cr_assert_not(ws_key_is_valid("dGhlIHNhbXBsZSBub25jZQQQ", 24));
}
