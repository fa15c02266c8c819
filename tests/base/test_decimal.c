#include "base/decimal.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../direct/valgrind.h"

static void writes(double number, const char *expected)
{
    char out[DECIMAL_MAX];
    size_t n = decimal_write(out, number);
    cr_assert_eq(n, strlen(expected), "%.17g: %.*s, not %s", number, (int)n, out, expected);
    cr_assert_eq(memcmp(out, expected, n), 0, "%.*s, not %s", (int)n, out, expected);
}

/* As many digits as printf needs until they are read as the number. */
static void writes_shortest(double number)
{
    char out[DECIMAL_MAX + 1], expected[40];
    int precision = 0;
    do
        snprintf(expected, sizeof(expected), "%.*g", ++precision, number);
    while (strtod(expected, NULL) != number);
    size_t n = decimal_write(out, number);
    out[n] = '\0';
    cr_assert_eq(strtod(out, NULL), number, "%s for %s", out, expected);
    if (!strchr(expected, 'e'))
        cr_assert_eq(n, strlen(expected), "%s for %s", out, expected);
}

Test(decimal, writes_integers_to_the_last_that_is_exact)
{
    writes(0, "0");
    writes(-0.0, "-0");
    writes(7, "7");
    writes(-10, "-10");
    writes(99, "99");
    writes(100, "100");
    writes(12345, "12345");
    writes(9007199254740991, "9007199254740991");
    writes(-9007199254740992, "-9007199254740992");
}

Test(decimal, lays_fractions_out_without_an_exponent)
{
    writes(0.5, "0.5");
    writes(-1.25, "-1.25");
    writes(0.0001, "0.0001");
    writes(0.00012345678901234567, "0.00012345678901234567");
    writes(0.1 + 0.2, "0.30000000000000004");
    writes(4503599627370495.5, "4503599627370495.5");
    writes(1.0 / 3, "0.3333333333333333");
    writes(nextafter(10, 0), "9.999999999999998");
    writes(nextafter(0.001, 0), "0.0009999999999999998");
}

Test(decimal, leaves_what_is_too_large_or_too_small)
{
    char out[DECIMAL_MAX];
    const double others[] = {9007199254740994, 1e300, 9.99e-5, 5e-324, HUGE_VAL, -HUGE_VAL, NAN};
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        cr_assert_eq(decimal_write(out, others[i]), 0);
}

Test(decimal, writes_as_few_digits_as_are_read_as_the_number)
{
    int rounds = RUNNING_ON_VALGRIND ? 1000 : 100000;
    uint64_t state = 1;
    for (int i = 0; i < rounds; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        double whole = (double)(state >> 11), unit = whole / 9007199254740992;
        writes_shortest(ldexp(1 + unit, (int)(state >> 5 & 63) - 12));
        writes_shortest(floor(unit * 1e6) / 1000);
    }
    for (int power = -13; power <= 53; power++) {
        writes_shortest(ldexp(1, power));
        if (power < 53)
            writes_shortest(nextafter(ldexp(1, power), HUGE_VAL));
        writes_shortest(nextafter(ldexp(1, power), 0));
    }
}

static void writes_whole(uint64_t number)
{
    char out[DECIMAL_WHOLE_MAX + 1], expected[32];
    snprintf(expected, sizeof(expected), "%" PRIu64, number);
    out[decimal_write_whole(out, number)] = '\0';
    cr_expect_str_eq(out, expected);
}

Test(decimal, writes_whole_numbers_of_every_length)
{
    uint64_t power = 1;
    for (int len = 1; len <= DECIMAL_WHOLE_MAX; len++, power *= 10) {
        writes_whole(power - 1);
        writes_whole(power);
        writes_whole(power + 1);
    }
    writes_whole(UINT64_MAX);
}
