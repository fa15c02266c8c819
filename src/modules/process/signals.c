/*
 * Signals by name, and those that Lua catches: a bit for each that has come, and a task that takes
 * them off one by one.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <sys/types.h>

#include "lua/sched.h"
#include "process.h"
#include "unit.h"

#define SIGNAL(name, ends)                                                                         \
    {                                                                                              \
        SIG##name, "SIG" #name, ends                                                               \
    }

static const struct {
    int signum;
    const char *name;
    bool ends; /* a process that does not catch it */
} names[] = {
    SIGNAL(HUP, true),
    SIGNAL(INT, true),
    SIGNAL(QUIT, true),
    SIGNAL(ILL, true),
    SIGNAL(TRAP, true),
    SIGNAL(ABRT, true),
    SIGNAL(BUS, true),
    SIGNAL(FPE, true),
    SIGNAL(KILL, true),
    SIGNAL(USR1, true),
    SIGNAL(SEGV, true),
    SIGNAL(USR2, true),
    SIGNAL(PIPE, true),
    SIGNAL(ALRM, true),
    SIGNAL(TERM, true),
    SIGNAL(CHLD, false),
    SIGNAL(CONT, false),
    SIGNAL(STOP, false),
    SIGNAL(TSTP, false),
    SIGNAL(TTIN, false),
    SIGNAL(TTOU, false),
    SIGNAL(URG, false),
    SIGNAL(XCPU, true),
    SIGNAL(XFSZ, true),
    SIGNAL(VTALRM, true),
    SIGNAL(PROF, true),
    SIGNAL(WINCH, false),
    SIGNAL(SYS, true),
#ifdef SIGIO
    SIGNAL(IO, true),
#endif
#ifdef SIGPWR
    SIGNAL(PWR, true),
#endif
#ifdef SIGSTKFLT
    SIGNAL(STKFLT, true),
#endif
#ifdef SIGINFO
    SIGNAL(INFO, false),
#endif
#ifdef SIGEMT
    SIGNAL(EMT, true),
#endif
    /* Second names, for looking up only. */
    {SIGABRT, "SIGIOT", true},
    {SIGCHLD, "SIGCLD", false},
#ifdef SIGPOLL
    {SIGPOLL, "SIGPOLL", true},
#endif
};

enum { NAMES = (int)(sizeof(names) / sizeof(*names)) };

static struct {
    ev_signal watchers[NSIG];
    bool watched[NSIG];
    bool pending[NSIG];
    bool ready;
    waitq waiters;
} caught;

int links_signal_number(const char *name)
{
    for (int i = 0; i < NAMES; i++)
        if (strcmp(names[i].name, name) == 0)
            return names[i].signum;
    return 0;
}

const char *links_signal_name(int signum)
{
    for (int i = 0; i < NAMES; i++)
        if (names[i].signum == signum)
            return names[i].name;
    return NULL;
}

int links_signal_ends(int signum)
{
    for (int i = 0; i < NAMES; i++)
        if (names[i].signum == signum)
            return names[i].ends;
    return 0;
}

/* --- catching ------------------------------------------------------------------------------ */

static void on_caught(ev_loop *loop, ev_signal *watcher)
{
    (void)loop;
    caught.pending[watcher->signum] = true;
    waitq_wake_one(&caught.waiters, 0);
}

int links_signal_watch(int signum, int on)
{
    if (signum < 1 || signum >= NSIG)
        return -EINVAL;
    if (!caught.ready) {
        waitq_init(&caught.waiters);
        caught.ready = true;
    }
    if (on && !caught.watched[signum]) {
        int rc = ev_signal_start(sched_loop(), &caught.watchers[signum], signum, on_caught);
        if (rc < 0)
            return rc;
        caught.watched[signum] = true;
    } else if (!on && caught.watched[signum]) {
        ev_signal_stop(sched_loop(), &caught.watchers[signum]);
        caught.watched[signum] = caught.pending[signum] = false;
    }
    return 0;
}

int links_signal_next(void)
{
    if (!caught.ready) {
        waitq_init(&caught.waiters);
        caught.ready = true;
    }
    for (int i = 1; i < NSIG; i++) {
        if (caught.pending[i]) {
            caught.pending[i] = false;
            return i;
        }
    }
    return sched_park(&caught.waiters, 0, 0, "signal");
}

void signals_close(ev_loop *loop)
{
    for (int i = 1; i < NSIG; i++)
        if (caught.watched[i])
            ev_signal_stop(loop, &caught.watchers[i]);
    memset(&caught, 0, sizeof(caught));
}

int links_process_kill(int pid, int signum) { return kill(pid, signum) < 0 ? -errno : 0; }
