/*
 * Makes system calls fail or fall short, for what a healthy machine never shows. Preloaded into a
 * server (LD_PRELOAD) and told by the environment:
 *
 *   FAULT="accept4=EMFILE/3 recv=EINTR/2 send=short malloc=fail@500"
 *
 * name=what/n@after: every nth call (1: each), from the one after the first `after` on. What: the
 * name of an error, or `short`: a write of one byte. There is no short read, since epoll(7)
 * promises that it has emptied the socket. malloc, which is calloc too, knows only
 * `fail`. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { RULES_MAX = 16, SHORT = -1 };

typedef struct rule {
    char name[16];
    int error; /* or SHORT */
    unsigned long every, after, calls;
} rule;

static rule rules[RULES_MAX];
static int nrules;

static int error_of(const char *name)
{
    static const struct {
        const char *name;
        int error;
    } known[] = {
        {"EMFILE", EMFILE},
        {"ENFILE", ENFILE},
        {"ECONNABORTED", ECONNABORTED},
        {"EINTR", EINTR},
        {"EAGAIN", EAGAIN},
        {"ECONNRESET", ECONNRESET},
        {"EPIPE", EPIPE},
        {"ENOBUFS", ENOBUFS},
        {"ENOMEM", ENOMEM},
        {"short", SHORT},
        {"ETIMEDOUT", ETIMEDOUT},
        {"fail", ENOMEM},
        {"EPROTO", EPROTO},
        {"ECONNREFUSED", ECONNREFUSED},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(known[i].name, name) == 0)
            return known[i].error;
    abort(); /* a rule that nobody understands would test nothing */
}

static void parse_rule(char *text)
{
    rule *r = &rules[nrules++];
    char *what = strchr(text, '=');
    if (!what || nrules == RULES_MAX)
        abort();
    *what++ = '\0';
    char *every = strchr(what, '/'), *after = strchr(every ? every : what, '@');
    r->every = 1;
    if (after) {
        *after++ = '\0';
        r->after = strtoul(after, NULL, 10);
    }
    if (every) {
        *every++ = '\0';
        r->every = strtoul(every, NULL, 10);
    }
    strncpy(r->name, text, sizeof(r->name) - 1);
    r->error = error_of(what);
}

__attribute__((constructor)) static void start(void)
{
    static char copy[512];
    const char *fault = getenv("FAULT");
    strncpy(copy, fault ? fault : "", sizeof(copy) - 1);
    for (char *rest = copy, *text; (text = strtok_r(rest, " ", &rest));)
        parse_rule(text);
}

/* What is to become of this call: 0 for nothing, an errno, or SHORT. */
static int fault(const char *name)
{
    for (int i = 0; i < nrules; i++) {
        rule *r = &rules[i];
        if (strcmp(r->name, name) != 0)
            continue;
        unsigned long n = ++r->calls;
        if (n > r->after && (n - r->after) % r->every == 0)
            return r->error;
    }
    return 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define FAIL(name)                                                                                 \
    int what = fault(#name);                                                                       \
    if (what > 0) {                                                                                \
        errno = what;                                                                              \
        return -1;                                                                                 \
    }

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    FAIL(accept4)
    return REAL(accept4)(fd, addr, len, flags);
}

ssize_t recv(int fd, void *data, size_t len, int flags)
{
    FAIL(recv)
    return REAL(recv)(fd, data, len, flags);
}

ssize_t send(int fd, const void *data, size_t len, int flags)
{
    FAIL(send)
    return REAL(send)(fd, data, what == SHORT && len ? 1 : len, flags);
}

/* What links calls in the system's place (src/base/syscall.h); all others go through. */
long links_system_call(long number, long a, long b, long c, long d)
{
    int what = number == SYS_recvfrom ? fault("recv") : number == SYS_sendto ? fault("send") : 0;
    if (what > 0)
        return -what;
    if (what == SHORT && c)
        c = 1;
    long n = syscall(number, a, b, c, d, 0L, 0L);
    return n < 0 ? -errno : n;
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
    FAIL(sendmsg)
    if (what != SHORT || !msg->msg_iovlen || !msg->msg_iov->iov_len)
        return REAL(sendmsg)(fd, msg, flags);
    return REAL(send)(fd, msg->msg_iov->iov_base, 1, flags);
}

extern void *__libc_malloc(size_t size);

extern void *__libc_calloc(size_t count, size_t size);

static bool out_of_memory(void)
{
    if (!nrules || fault("malloc") <= 0)
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size) { return out_of_memory() ? NULL : __libc_malloc(size); }

void *calloc(size_t count, size_t size)
{
    return out_of_memory() ? NULL : __libc_calloc(count, size);
}
