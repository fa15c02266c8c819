/*
 * Signals: the handler marks the signal's number and wakes the loop, and the loop's events step
 * calls the watchers. So a storm of signals is one callback, and callbacks may do anything.
 *
 * Signal actions belong to the process, so this is the one file of the reactor with a state of
 * its own: the table of signals, and the loop that takes them at present.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>

#include "loop.h"

typedef struct watched {
    list watchers;
    int count;
    int pending; /* atomic: set by the handler */
    struct sigaction former;
} watched;

static struct {
    ev_loop *owner; /* atomic: read by the handler; NULL while nothing is watched */
    int watchers;
    watched signals[NSIG];
} state;

static void on_signal(int signum)
{
    int error = errno;
    signal_raise(__atomic_load_n(&state.owner, __ATOMIC_SEQ_CST), signum);
    errno = error;
}

void signal_raise(ev_loop *loop, int signum)
{
    __atomic_store_n(&state.signals[signum].pending, 1, __ATOMIC_SEQ_CST);
    if (loop)
        loop_wake(loop);
}

/* Those that report a fault of the running instruction come again as soon as the handler returns:
 * the process would spin and never reach the events step. */
static bool is_fault(int signum)
{
    return signum == SIGSEGV || signum == SIGBUS || signum == SIGFPE || signum == SIGILL;
}

static int install(watched *w, int signum)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    __atomic_store_n(&w->pending, 0, __ATOMIC_SEQ_CST);
    return sigaction(signum, &action, &w->former) < 0 ? -errno : 0;
}

static void claim(ev_loop *loop)
{
    for (int i = 0; i < NSIG; i++)
        list_init(&state.signals[i].watchers);
    __atomic_store_n(&state.owner, loop, __ATOMIC_SEQ_CST);
}

static void disclaim(void) { __atomic_store_n(&state.owner, NULL, __ATOMIC_SEQ_CST); }

int ev_signal_start(ev_loop *loop, ev_signal *watcher, int signum,
                    void (*cb)(ev_loop *loop, ev_signal *watcher))
{
    list_init(&watcher->link);
    if (signum < 1 || signum >= NSIG || is_fault(signum))
        return -EINVAL;
    if (state.owner && state.owner != loop)
        return -EBUSY;
    if (!state.owner)
        claim(loop);
    watched *w = &state.signals[signum];
    if (w->count == 0) {
        int rc = install(w, signum);
        if (rc < 0) {
            if (state.watchers == 0)
                disclaim();
            return rc;
        }
    }
    watcher->cb = cb;
    watcher->signum = signum;
    list_push_back(&w->watchers, &watcher->link);
    w->count++;
    state.watchers++;
    return 0;
}

void ev_signal_stop(ev_loop *loop, ev_signal *watcher)
{
    if (!loop_linked(&watcher->link))
        return;
    assert(state.owner == loop);
    (void)loop;
    watched *w = &state.signals[watcher->signum];
    list_remove(&watcher->link);
    if (--w->count == 0)
        sigaction(watcher->signum, &w->former, NULL);
    if (--state.watchers == 0)
        disclaim();
}

/* Each goes back on its list before its callback, so callbacks may stop any of them. */
static void tell(ev_loop *loop, watched *w)
{
    list all;
    list_init(&all);
    list_move_all(&all, &w->watchers);
    for (list *node; (node = list_pop_front(&all));) {
        ev_signal *watcher = CONTAINER_OF(node, ev_signal, link);
        list_push_back(&w->watchers, node);
        watcher->cb(loop, watcher);
    }
}

void signals_dispatch(ev_loop *loop)
{
    for (int i = 1; i < NSIG && state.owner == loop; i++) {
        watched *w = &state.signals[i];
        if (__atomic_exchange_n(&w->pending, 0, __ATOMIC_SEQ_CST) && w->count > 0)
            tell(loop, w);
    }
}

/* A watcher that was left running must not leave a handler behind that knows a freed loop. */
void signals_deinit(ev_loop *loop)
{
    if (state.owner != loop)
        return;
    for (int i = 1; i < NSIG; i++)
        if (state.signals[i].count > 0)
            sigaction(i, &state.signals[i].former, NULL);
    for (int i = 1; i < NSIG; i++)
        state.signals[i].count = 0;
    state.watchers = 0;
    disclaim();
}
