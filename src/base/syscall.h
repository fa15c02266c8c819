/*
 * System calls for the hot path, without a function of the C library around them.
 *
 * glibc makes recv, send and epoll_wait points at which a thread can be cancelled, as soon as there
 * is a second thread, as the watchdog's: two locked instructions and fifty others around each call.
 * Nobody cancels our threads.
 *
 * And a kernel that guards itself against speculation leaves the processor without its stack of
 * return addresses: whatever was called before a system call and returns after it is mispredicted.
 * So on x86-64 the call is written into the place that makes it, and the functions between there
 * and the loop are inlined: ALWAYS_INLINE, where a request passes. Together that saves 0.3 us of a
 * request's 6.4, and next to nothing as long as one function is left in between.
 */
#ifndef LINKS_BASE_SYSCALL_H
#define LINKS_BASE_SYSCALL_H

#include <errno.h>
#include <stddef.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif
#include <unistd.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#ifdef __linux__

/* Where a preloaded library defines it, as tests/fault does, it is called in the system's place. */
extern long links_system_call(long number, long a, long b, long c, long d) __attribute__((weak));

/* The arguments from the fifth on are 0. Returns what the system does: -errno where it fails. */
ALWAYS_INLINE long system_call(long number, long a, long b, long c, long d)
{
    if (__builtin_expect(links_system_call != NULL, 0))
        return links_system_call(number, a, b, c, d);
#ifdef __x86_64__
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = 0;
    register long r9 __asm__("r9") = 0;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
#else
    long result = syscall(number, a, b, c, d, 0L, 0L);
    return result < 0 ? -errno : result;
#endif
}

#endif

#endif
