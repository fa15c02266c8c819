/*
 * The part of kqueue(2) that src/ev/poll_kqueue.c uses, for systems that have none: with it Linux
 * compiles that file and runs the reactor's tests on it. kqueue.c makes it from epoll. The names
 * and the meaning are the manual page's; the numbers are FreeBSD's.
 */
#ifndef LINKS_TESTS_KQUEUE_SYS_EVENT_H
#define LINKS_TESTS_KQUEUE_SYS_EVENT_H

#include <stdint.h>
#include <time.h>

#define EVFILT_READ  (-1)
#define EVFILT_WRITE (-2)

#define EV_ADD     0x0001
#define EV_DELETE  0x0002
#define EV_CLEAR   0x0020
#define EV_RECEIPT 0x0040
#define EV_ERROR   0x4000
#define EV_EOF     0x8000

struct kevent {
    uintptr_t ident;
    short filter;
    unsigned short flags;
    unsigned int fflags;
    int64_t data;
    void *udata;
};

#define EV_SET(kev, a, b, c, d, e, f)                                                              \
    (*(kev) = (struct kevent){.ident = (uintptr_t)(a),                                             \
                              .filter = (short)(b),                                                \
                              .flags = (unsigned short)(c),                                        \
                              .fflags = (d),                                                       \
                              .data = (e),                                                         \
                              .udata = (f)})

int kqueue(void);

int kevent(int kq, const struct kevent *changes, int nchanges, struct kevent *events, int nevents,
           const struct timespec *timeout);

#endif
