/*
 * A clock so cheap that it may be read around every resume: the processor's own counter where
 * there is one. Its unit is unknown; differences are compared, and scaled when they are shown.
 */
#ifndef LINKS_BASE_TICKS_H
#define LINKS_BASE_TICKS_H

#include <stdint.h>
#include <time.h>

static inline uint64_t ticks_now(void)
{
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t t;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
    return t;
#else
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
#endif
}

#endif
