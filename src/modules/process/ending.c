/*
 * How the process ends. Whatever asks for it - a signal, Lua, the loop that has run dry - stops the
 * loop, and main calls ending_wind_down: the program's hooks, then the end of all tasks.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lua/sched.h"
#include "lua/vm.h"
#include "modules/log/crash.h"
#include "modules/net/lent.h"
#include "modules/net/transfer.h"
#include "process.h"
#include "unit.h"

enum {
    GRACE_MS = 1000,       /* for cancelled tasks to clean up, and children to end */
    LOOK_MS = 10,          /* how often it is asked meanwhile whether they have */
    NAP_MS = 500,          /* the longest sleep while the alarm is set */
    STUCK_S = 2,           /* for Lua to come back to the loop, before the signal kills it */
    HOOKS_TIMEOUT = 10000, /* for the hooks, unless Lua says otherwise */
};

static struct {
    volatile sig_atomic_t signum; /* what to die of; 0: end with a code */
    volatile sig_atomic_t sent;   /* signum came as a signal */
    bool asked;                   /* for a code */
    int code;
    ev_loop *loop;
    ev_async async;
    waitq runner; /* the task that runs the hooks waits here */
    bool has_runner, due, done;
    int staying; /* tasks that have asked for the end, and wait for it */
    double timeout_ms;
} ending;

/* --- signals ------------------------------------------------------------------------------- */

static void die_of(int signum)
{
    signal(signum, SIG_DFL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signum);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(signum);
}

static void on_stuck(int signum)
{
    (void)signum;
    crash_write();
    die_of(ending.signum);
}

/* The first one asks the loop to end; where Lua does not come back to the loop, the second one,
 * or two seconds, end the process. */
static void on_ending_signal(int signum)
{
    int saved = errno;
    if (ending.signum) {
        crash_write();
        die_of(signum);
    }
    ending.signum = signum;
    ending.sent = true;
    signal(SIGALRM, on_stuck);
    alarm(STUCK_S);
    ev_async_send(&ending.async);
    errno = saved;
}

/* A handler and not SIG_IGN: programs that Lua starts are to have the default action. A socket's
 * broken pipe is an error of the write and no more; but a program whose standard output nobody
 * reads any more would print for ever, so it ends as every other program does. */
static void on_sigpipe(int signum)
{
    if (transfer_under_way)
        return;
    int saved = errno;
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    if (poll(&out, 1, 0) == 1 && (out.revents & POLLERR))
        die_of(signum);
    errno = saved;
}

static void on_ending(ev_loop *loop, ev_async *async)
{
    (void)async;
    alarm(STUCK_S); /* anew: cleaning up may get stuck too */
    ev_loop_stop(loop);
}

static void handle(int signum, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    struct sigaction before;
    sigemptyset(&action.sa_mask);
    sigaction(signum, NULL, &before);
    if (before.sa_handler != SIG_IGN) /* nohup, and shells that start us in the background */
        sigaction(signum, &action, NULL);
}

void ending_open(ev_loop *loop)
{
    memset(&ending, 0, sizeof(ending));
    ending.loop = loop;
    ending.timeout_ms = HOOKS_TIMEOUT;
    waitq_init(&ending.runner);
    ev_async_start(loop, &ending.async, on_ending);
    handle(SIGPIPE, on_sigpipe);
    handle(SIGINT, on_ending_signal);
    handle(SIGTERM, on_ending_signal);
}

void ending_close(ev_loop *loop)
{
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    ev_async_stop(loop, &ending.async);
}

/* --- for Lua ------------------------------------------------------------------------------- */

void links_ending_runner(void) { ending.has_runner = true; }

int links_ending_due(void) { return ending.due; }

int links_ending_wait(void)
{
    return ending.due ? 1 : sched_park(&ending.runner, 0, 0, "the end of the process");
}

void links_ending_done(void) { ending.done = true; }

void links_ending_timeout(double ms) { ending.timeout_ms = ms; }

void links_ending_exit(int signum)
{
    if (ending_asked())
        return;
    ending.signum = signum;
    ev_loop_stop(ending.loop);
}

void links_ending_quit(int code)
{
    if (ending_asked())
        return;
    ending.asked = true;
    ending.code = code;
    ev_loop_stop(ending.loop);
}

int links_ending_by_signal(void) { return ending.sent; }

void links_ending_stay(int change) { ending.staying += change; }

int links_ending_reason(int *code)
{
    *code = ending.code;
    return ending.signum ? ending.signum : -ending.asked;
}

/* --- for main ------------------------------------------------------------------------------ */

bool ending_asked(void) { return ending.signum || ending.asked; }

/* One turn, unless `end` has come, or a signal that was not there before. */
static bool turn(ev_loop *loop, int64_t end, int64_t max_ms, int signum)
{
    int64_t left = end - ev_now_update(loop);
    if (left <= 0 || ending.signum != signum)
        return false;
    if (signum) {
        signal(SIGALRM, on_stuck);
        alarm(STUCK_S);
    }
    return ev_loop_turn(loop, (int)(left < max_ms ? left : max_ms)) == 0;
}

static void run_hooks(ev_loop *loop)
{
    int signum = ending.signum;
    int64_t end = ev_now_update(loop) + (int64_t)ending.timeout_ms;
    ending.due = true;
    waitq_wake_one(&ending.runner, 0);
    ev_loop_again(loop);
    while (ending.has_runner && !ending.done && turn(loop, end, NAP_MS, signum))
        ;
}

/* Nobody says when the last task has ended, and this is the last second: so it is asked often. */
static int cancel_all(void) { return vm_cancel_all() - ending.staying + children_end(); }

static void end_tasks(ev_loop *loop)
{
    int signum = ending.signum;
    int64_t end = ev_now_update(loop) + GRACE_MS;
    int left = cancel_all();
    ev_loop_again(loop);
    while (left > 0 && turn(loop, end, LOOK_MS, signum))
        left = cancel_all();
}

void ending_wind_down(ev_loop *loop, int code)
{
    if (!ending_asked())
        ending.code = code;
    lent_keep();
    run_hooks(loop);
    if (ending_asked())
        end_tasks(loop);
    else
        children_end();
}

int ending_finish(void)
{
    if (ending.signum)
        die_of(ending.signum);
    return ending.code;
}
