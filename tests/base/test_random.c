#include "base/random.h"

#include <criterion/criterion.h>

Test(random, gives_other_bits_each_time)
{
    uint32_t ones = 0, zeros = 0;
    int same = 0;
    for (uint32_t i = 0, last = 0; i < 1000; i++) {
        uint32_t bits = random_bits();
        same += bits == last;
        ones |= bits;
        zeros |= ~bits;
        last = bits;
    }
    cr_assert_lt(same, 3);
    cr_assert_eq(ones, UINT32_MAX);
    cr_assert_eq(zeros, UINT32_MAX);
}
