/*
 * The links program: reads the command line, opens the loop and the VM, runs the script, and
 * leaves as the script, a signal or an error says.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ev/ev.h"
#include "lua/vm.h"
#include "modules/modules.h"
#include "version.h"

enum {
    EXIT_USAGE = 2,
    GRACE_MS = 1000, /* for cancelled tasks to clean up after a SIGINT or SIGTERM */
    C_STACK_MIB = 96,
    STUCK_S = 2, /* for Lua to come back to the loop, before the signal kills it */
};

static const char usage[] =
    "usage: links [options] [script [argument...]]\n"
    "\n"
    "  script    a Lua file; - is standard input\n"
    "  -e CODE   run CODE\n"
    "  -l MODULE require MODULE, into a global of that name\n"
    "  --strict  writing an undeclared global is an error, not a warning\n"
    "  -v        print the versions and exit\n"
    "  -h        print this and exit\n"
    "  --        end of the options\n"
    "\n"
    "  links app.lua        serves whatever app.lua makes: see man links\n";

/* --- the command line ---------------------------------------------------------------------- */

static int bad_usage(const char *problem, const char *what)
{
    fprintf(stderr, "links: %s%s (links -h lists the options)\n", problem, what);
    return EXIT_USAGE;
}

/* The argument of an option, behind it or next to it. */
static const char *option_argument(char **argv, int argc, int *i)
{
    if (argv[*i][2])
        return argv[*i] + 2;
    if (*i + 1 < argc)
        return argv[++*i];
    return NULL;
}

static int add_first(vm_program *p, char kind, const char *text)
{
    if (!text)
        return bad_usage("an argument is missing after -", (char[]){kind, 0});
    if (p->nfirst == (int)(sizeof(p->first) / sizeof(*p->first)))
        return bad_usage("too many options: at most 64 of -e and -l", "");
    p->first[p->nfirst].kind = kind;
    p->first[p->nfirst++].text = text;
    return 0;
}

/* 0 to go on, -1 when all is done, or the exit code of a mistake. */
static int parse_option(vm_program *p, char **argv, int argc, int *i)
{
    const char *option = argv[*i];
    if (strcmp(option, "--strict") == 0) {
        p->strict = true;
        return 0;
    }
    if (strcmp(option, "-h") == 0 || strcmp(option, "--help") == 0) {
        fputs(usage, stdout);
        return -1;
    }
    if (strcmp(option, "-v") == 0 || strcmp(option, "--version") == 0) {
        vm_print_versions();
        modules_print_versions();
        return -1;
    }
    if (option[1] == 'e' || option[1] == 'l')
        return add_first(p, option[1], option_argument(argv, argc, i));
    return bad_usage("unknown option ", option);
}

static int parse(vm_program *p, int argc, char **argv)
{
    int i = 1;
    for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        int rc = parse_option(p, argv, argc, &i);
        if (rc)
            return rc;
    }
    p->argv = argv;
    p->argc = argc;
    if (i < argc) {
        p->script = i;
        p->from_stdin = strcmp(argv[i], "-") == 0;
    } else if (!p->nfirst) {
        if (isatty(STDIN_FILENO)) {
            fputs(usage, stderr);
            return EXIT_USAGE;
        }
        p->from_stdin = true;
    }
    return 0;
}

/* --- signals ------------------------------------------------------------------------------- */

static ev_async ending;
static volatile sig_atomic_t ending_signal;

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
    die_of(ending_signal);
}

/* The first one asks the loop to end; where Lua does not come back to the loop, the second one,
 * or two seconds, end the process. */
static void on_ending_signal(int signum)
{
    int saved = errno;
    if (ending_signal)
        die_of(signum);
    ending_signal = signum;
    signal(SIGALRM, on_stuck);
    alarm(STUCK_S);
    ev_async_send(&ending);
    errno = saved;
}

/* A handler and not SIG_IGN: programs that Lua starts are to have the default action. A socket's
 * broken pipe is an error of the write and no more; but a program whose standard output nobody
 * reads any more would print for ever, so it ends as every other program does. */
static void on_sigpipe(int signum)
{
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

static void signals_open(ev_loop *loop)
{
    ev_async_start(loop, &ending, on_ending);
    handle(SIGPIPE, on_sigpipe);
    handle(SIGINT, on_ending_signal);
    handle(SIGTERM, on_ending_signal);
}

static void signals_close(ev_loop *loop)
{
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    ev_async_stop(loop, &ending);
}

/* --- running ------------------------------------------------------------------------------- */

static void raise_limit(int resource, rlim_t want)
{
    struct rlimit limit;
    if (getrlimit(resource, &limit) != 0 || limit.rlim_cur >= want)
        return;
    limit.rlim_cur = want < limit.rlim_max ? want : limit.rlim_max;
    setrlimit(resource, &limit);
}

/* A server wants as many descriptors as it may have. And LuaJIT bounds the depth of the Lua stack,
 * but each level of string.gsub within string.gsub takes 8 KiB of the C stack too: at its bound,
 * where it raises its error, they are 58 MiB. Linux looks at this limit as the stack grows. */
static void raise_limits(void)
{
    raise_limit(RLIMIT_NOFILE, RLIM_INFINITY);
    raise_limit(RLIMIT_STACK, (rlim_t)C_STACK_MIB << 20);
}

/* Gives what is still running the news and a moment to clean up. */
static void wind_down(ev_loop *loop)
{
    int64_t end = ev_now_update(loop) + GRACE_MS;
    while (vm_cancel_all() > 0) {
        int64_t left = end - ev_now_ms(loop);
        if (left <= 0 || ev_loop_turn(loop, (int)left) < 0)
            return;
    }
}

/* The exit code of a loop that has ended by itself, or by core.exit. */
static int exit_code(int loop_rc)
{
    int code = 0;
    if (vm_exit_asked(&code))
        return code;
    if (loop_rc < 0) {
        fprintf(stderr, "links: the event loop cannot wait: %s\n", strerror(-loop_rc));
        return EXIT_FAILURE;
    }
    if (!vm_main_over()) {
        const char *what = vm_main_waits();
        fprintf(stderr,
                "links: deadlock: the main program waits (%s) and nothing is left to wake it\n",
                what ? what : "?");
        return EXIT_FAILURE;
    }
    return vm_main_failed() ? EXIT_FAILURE : 0;
}

int main(int argc, char **argv)
{
    vm_program program = {0};
    int rc = parse(&program, argc, argv);
    if (rc)
        return rc < 0 ? 0 : rc;

    raise_limits();
    ev_loop *loop = ev_loop_new();
    if (!loop) {
        fprintf(stderr, "links: cannot make an event loop: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    if (vm_open(loop) < 0) {
        fprintf(stderr, "links: cannot make a Lua VM: out of memory\n");
        ev_loop_free(loop);
        return EXIT_FAILURE;
    }
    modules_open(loop);
    signals_open(loop);

    vm_start(&program);
    int code = 0;
    if (!vm_exit_asked(&code))
        rc = ev_loop_run(loop);
    if (ending_signal)
        wind_down(loop);
    else
        code = exit_code(rc);

    signals_close(loop);
    vm_close();
    modules_close(loop);
    ev_loop_free(loop);
    fflush(stdout);
    if (ending_signal)
        die_of(ending_signal);
    return code;
}
