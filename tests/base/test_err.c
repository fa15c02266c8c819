#include "base/err.h"

#include <ares.h>
#include <criterion/criterion.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#define ASSERT_NAME(code, name)                                                                    \
    do {                                                                                           \
        cr_assert_str_eq(links_err_name(code), name);                                              \
        cr_assert_str_eq(links_err_name(-(code)), name);                                           \
        cr_assert_str_eq(links_err_message(code), links_err_message(-(code)));                     \
        cr_assert_str_neq(links_err_message(code), "unknown error");                               \
    } while (0)

Test(err, names_what_the_system_said_whatever_the_sign)
{
    ASSERT_NAME(ENOENT, "ENOENT");
    ASSERT_NAME(EPERM, "EPERM");
    ASSERT_NAME(EAGAIN, "EAGAIN");
    ASSERT_NAME(ECONNREFUSED, "ECONNREFUSED");
    ASSERT_NAME(ETIMEDOUT, "ETIMEDOUT");
    ASSERT_NAME(ECANCELED, "ECANCELED");
    ASSERT_NAME(EMFILE, "EMFILE");
    cr_assert_str_eq(links_err_message(-ECONNREFUSED), "connection refused");
    cr_assert_str_eq(links_err_message(ETIMEDOUT), "timed out");
}

Test(err, names_its_own_codes_without_a_prefix)
{
    ASSERT_NAME(LINKS_EOF, "EOF");
    ASSERT_NAME(LINKS_CLOSED, "CLOSED");
    ASSERT_NAME(LINKS_EXCEED_BUF_SIZE, "EXCEED_BUF_SIZE");
    ASSERT_NAME(LINKS_TYPE, "TYPE");
    ASSERT_NAME(LINKS_AGAIN, "AGAIN");
    ASSERT_NAME(LINKS_HTTP_BAD_REQUEST, "HTTP_BAD_REQUEST");
    ASSERT_NAME(LINKS_HTTP_BAD_URL, "HTTP_BAD_URL");
    ASSERT_NAME(LINKS_JWT_CLAIM, "JWT_CLAIM");
}

Test(err, calls_a_deadline_a_timeout)
{
    ASSERT_NAME(LINKS_DEADLINE, "ETIMEDOUT");
    cr_assert_str_neq(links_err_message(LINKS_DEADLINE), links_err_message(ETIMEDOUT));
}

Test(err, agrees_with_the_resolver_on_its_codes)
{
    ASSERT_NAME(10000 + ARES_ENODATA, "ARES_ENODATA");
    ASSERT_NAME(10000 + ARES_EFORMERR, "ARES_EFORMERR");
    ASSERT_NAME(10000 + ARES_ESERVFAIL, "ARES_ESERVFAIL");
    ASSERT_NAME(10000 + ARES_ENOTFOUND, "ARES_ENOTFOUND");
    ASSERT_NAME(10000 + ARES_EREFUSED, "ARES_EREFUSED");
    ASSERT_NAME(10000 + ARES_EBADNAME, "ARES_EBADNAME");
    ASSERT_NAME(10000 + ARES_ETIMEOUT, "ARES_ETIMEOUT");
    ASSERT_NAME(10000 + ARES_EDESTRUCTION, "ARES_EDESTRUCTION");
    ASSERT_NAME(10000 + ARES_ENOTINITIALIZED, "ARES_ENOTINITIALIZED");
    ASSERT_NAME(10000 + ARES_ECANCELLED, "ARES_ECANCELLED");
    ASSERT_NAME(10000 + ARES_ESERVICE, "ARES_ESERVICE");
}

Test(err, has_a_name_for_every_code_the_system_describes)
{
    int nameless = 0;
    for (int code = 1; code <= 40; code++)
        nameless += !strcmp(links_err_name(code), "EUNKNOWN");
    cr_assert_leq(nameless, 2, "EDEADLK and EAGAIN may have a second number, which has no name");
    for (int code = -LINKS_EOF; code <= -LINKS_DEADLINE; code++)
        cr_assert_str_neq(links_err_name(code), "EUNKNOWN", "no name for %d", code);
    for (int code = -LINKS_HTTP_BAD_REQUEST; code <= -LINKS_HTTP_BAD_URL; code++)
        cr_assert_str_neq(links_err_name(code), "EUNKNOWN", "no name for %d", code);
}

Test(err, has_a_word_for_codes_that_nobody_knows)
{
    static const int unknown[] = {0, 4000, 9999, 10000, 10900, 20000, 20999, INT_MAX, INT_MIN};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        cr_assert_str_eq(links_err_name(unknown[i]), "EUNKNOWN");
        cr_assert(isalpha((unsigned char)links_err_message(unknown[i])[0]));
    }
}
