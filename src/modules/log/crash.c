#include "crash.h"

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "writer.h"

enum { STACK = 16384 };

static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};

static struct {
    struct {
        const ring *ring; /* NULL: none */
        const uint64_t *writing;
        const int *fd;
    } rings[LOG_WRITERS_MAX];
    bool armed;
} crash;

/* Never blocks: what a pipe does not take now is lost. */
static void write_all(int fd, const char *data, size_t len)
{
    while (len) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
            return;
        ssize_t n = write(fd, data, len < 4096 ? len : 4096);
        if (n <= 0)
            return;
        data += n;
        len -= (size_t)n;
    }
}

/* What the thread is writing just now is in the system's hands already. */
static void write_ring(const ring *r, uint64_t from, int fd)
{
    uint64_t head = __atomic_load_n(&r->head, __ATOMIC_RELAXED);
    uint64_t tail = __atomic_load_n(&r->tail, __ATOMIC_RELAXED);
    if (from < tail)
        from = tail;
    if (from >= head || head - from > r->size)
        return;
    size_t at = from & (r->size - 1), len = (size_t)(head - from), first = r->size - at;
    if (first > len)
        first = len;
    write_all(fd, r->data + at, first);
    write_all(fd, r->data, len - first);
}

void crash_write(void)
{
    for (int i = 0; i < LOG_WRITERS_MAX; i++) {
        const ring *r = crash.rings[i].ring;
        if (r && *crash.rings[i].fd >= 0)
            write_ring(r, *crash.rings[i].writing, *crash.rings[i].fd);
    }
}

/* The handler was set for one time: coming back, the signal ends the process as it always does. */
static void on_crash(int signum)
{
    crash_write();
    raise(signum);
}

static void arm(void)
{
    static char stack[STACK]; /* the crash may be the end of the other one */
    stack_t before, ours = {.ss_sp = stack, .ss_size = STACK};
    if (sigaltstack(NULL, &before) == 0 && (before.ss_flags & SS_DISABLE))
        sigaltstack(&ours, NULL);
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
        struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_RESETHAND | SA_ONSTACK};
        struct sigaction former;
        sigemptyset(&action.sa_mask);
        if (sigaction(signals[i], NULL, &former) == 0 && former.sa_handler == SIG_DFL)
            sigaction(signals[i], &action, NULL);
    }
}

void crash_watch(int slot, const ring *r, const uint64_t *writing, const int *fd)
{
    crash.rings[slot].writing = writing;
    crash.rings[slot].fd = fd;
    __atomic_store_n(&crash.rings[slot].ring, r, __ATOMIC_RELEASE);
    if (!crash.armed)
        arm();
    crash.armed = true;
}

void crash_forget(int slot) { __atomic_store_n(&crash.rings[slot].ring, NULL, __ATOMIC_RELEASE); }
