#include "base/decimal.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8, 1e9,
                                1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18};

/* Writes the digits so that they end before `end`. Returns where they begin. */
static char *write_digits(char *end, uint64_t digits)
{
    static const char pairs[] =
        "00010203040506070809"
        "10111213141516171819"
        "20212223242526272829"
        "30313233343536373839"
        "40414243444546474849"
        "50515253545556575859"
        "60616263646566676869"
        "70717273747576777879"
        "80818283848586878889"
        "90919293949596979899";
    for (; digits >= 100; digits /= 100)
        memcpy(end -= 2, &pairs[digits % 100 * 2], 2);
    if (digits >= 10)
        return memcpy(end - 2, &pairs[digits * 2], 2);
    *--end = (char)('0' + digits);
    return end;
}

size_t decimal_write_whole(char out[DECIMAL_WHOLE_MAX], uint64_t number)
{
    size_t len = 1;
    for (uint64_t limit = 10; len < DECIMAL_WHOLE_MAX && number >= limit; limit *= 10)
        len++;
    write_digits(out + len, number);
    return len;
}

/* Writes digits * 10^-scale. Copies more than it takes, and as much each time, which needs no
 * call. */
static char *write_scaled(char *out, uint64_t digits, int scale)
{
    char buffer[2 * DECIMAL_WHOLE_MAX], *end = buffer + DECIMAL_WHOLE_MAX;
    const char *begin = write_digits(end, digits);
    int whole = (int)(end - begin) - scale; /* digits before the point */
    if (whole > 0) {
        memcpy(out, begin, DECIMAL_WHOLE_MAX);
        out += whole;
        begin += whole;
    } else {
        *out++ = '0';
    }
    *out++ = '.';
    for (; whole < 0; whole++)
        *out++ = '0';
    memcpy(out, begin, DECIMAL_WHOLE_MAX);
    return out + (end - begin);
}

/*
 * Up to fifteen digits and a power of ten up to 22 are exact as doubles, so that their quotient is
 * what the decimal is read as: if that is the number, these are digits of it.
 */
static bool find_short(double number, uint64_t *digits, int *scale)
{
    for (int k = 1; k < (int)(sizeof(powers) / sizeof(*powers)); k++) {
        double scaled = number * powers[k] + 0.5;
        if (scaled >= 1e15)
            return false;
        *digits = (uint64_t)scaled;
        *scale = k;
        if ((double)*digits / powers[k] == number)
            return true;
    }
    return false;
}

/* The power of ten of a number's first digit, from -4 to 15. */
static int magnitude_of(double number)
{
    static const double below_one[] = {1e-1, 1e-2, 1e-3, 1e-4};
    int power = 0;
    if (number < 1) {
        while (number < below_one[power])
            power++;
        return -1 - power;
    }
    while (number >= powers[power + 1])
        power++;
    return power;
}

/*
 * Sixteen digits, or seventeen, which are enough for any. The number is m / 2^shift; times the
 * power of ten that brings as many digits before the point it has less than 128 bits, so that both
 * the rounding and the question whether sixteen digits are nearer to it than to its neighbours are
 *
 * exact. */
static void find_long(double number, uint64_t *digits, int *scale)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof(bits));
    int shift = 1075 - (int)(bits >> 52); /* 1023, and the 52 bits behind the point */
    uint64_t mantissa = (bits & ((1ull << 52) - 1)) | 1ull << 52;

    *scale = 15 - magnitude_of(number);
    __uint128_t power = 1;
    for (int k = 0; k < *scale; k++)
        power *= 10;
    for (int ndigits = 16;; ndigits++, power *= 10, ++*scale) {
        __uint128_t exact = power * mantissa, half = (__uint128_t)1 << (shift - 1);
        __uint128_t rounded = exact >> shift, rest = exact & (2 * half - 1);
        if (rest >= half)
            rounded++;
        *digits = (uint64_t)rounded;
        __uint128_t scaled = rounded << shift;
        __uint128_t off = scaled > exact ? scaled - exact : exact - scaled;
        if (ndigits == 17 || 2 * off < power || (2 * off == power && mantissa % 2 == 0))
            return;
    }
}

size_t decimal_write(char out[DECIMAL_MAX], double number)
{
    const double limit = 9007199254740992; /* 2^53 */
    char *p = out;
    double size = fabs(number);
    uint64_t digits;
    int scale = 0;

    if (!(size <= limit))
        return 0;
    digits = (uint64_t)size;
    if ((double)digits != size) {
        if (size < 1e-4)
            return 0;
        if (!find_short(size, &digits, &scale))
            find_long(size, &digits, &scale);
    }
    if (signbit(number))
        *p++ = '-';
    p = scale ? write_scaled(p, digits, scale) : p + decimal_write_whole(p, digits);
    return (size_t)(p - out);
}
