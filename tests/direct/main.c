/*
 * Runs the tests of a Criterion program in forks of one process: for valgrind, whose start takes
 * longer than most tests, and which Criterion would have start anew for each. A test still has a
 * process of its own, which ends by exit, so that its leaks are looked for. Speaks TAP.
 *
 *   direct_<room> [suite]...     these suites, or all
 */
#include <criterion/criterion.h>
#include <criterion/internal/ordered-set.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "valgrind.h"

enum { TIMEOUT_S = 120, LOOK_NS = 2000000 };

/* --- in the process of a test -------------------------------------------------------------- */

static struct {
    struct criterion_test_extra_data *suite, *test;
} now_running;

static void call(void (*fn)(void))
{
    if (fn)
        fn();
}

/* These take the place of Criterion's own, which expect its runner. */
void criterion_internal_test_setup(void)
{
    call(now_running.suite->init);
    call(now_running.test->init);
}

void criterion_internal_test_main(void (*fn)(void)) { fn(); }

void criterion_internal_test_teardown(void)
{
    call(now_running.test->fini);
    call(now_running.suite->fini);
}

void criterion_send_assert(struct criterion_assert_stats *stats)
{
    if (!stats->passed)
        fprintf(stderr, "%s:%u: %s\n", stats->file, stats->line, stats->message);
}

CR_NORETURN void criterion_abort_test(void) { exit(EXIT_FAILURE); }

static CR_NORETURN void run_here(struct criterion_suite *suite, struct criterion_test *test)
{
    setpgid(0, 0);                   /* what it leaves behind is ended with it */
    VALGRIND_ENABLE_ERROR_REPORTING; /* Criterion switches it off for its runner */
    static struct criterion_test_extra_data none;
    now_running.suite = suite->data ? suite->data : &none;
    now_running.test = test->data;
    test->test();
    exit(EXIT_SUCCESS);
}

/* What a room's tests have for it is done once, before the forks: they inherit the code that
 * valgrind has translated for it. It leaves nothing else behind. */
void direct_prepare(void) __attribute__((weak));

/* --- in the first process ------------------------------------------------------------------ */

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The status of a process as waitpid gives it, or -1 where it took too long. */
static int wait_for(pid_t pid, double timeout_s)
{
    int status = 0;
    double end = now_s() + timeout_s;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (now_s() > end) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
            return -1;
        }
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
    return status;
}

static bool run(struct criterion_suite *suite, struct criterion_test *test)
{
    double timeout_s = test->data->timeout;
    if (!(timeout_s > 0) && suite->data)
        timeout_s = suite->data->timeout;
    if (!(timeout_s > 0))
        timeout_s = TIMEOUT_S;
    double begun = now_s();
    printf("# %s::%s\n", test->category, test->name);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        run_here(suite, test);
    int status = pid < 0 ? -1 : wait_for(pid, timeout_s);
    if (pid > 0)
        kill(-pid, SIGKILL);
    const char *how = status == 0 ? "" : status == -1 ? ": took too long" : ": failed";
    if (status > 0 && WIFSIGNALED(status))
        how = ": ended by a signal";
    printf("%s - %s::%s (%.2fs)%s\n", status ? "not ok" : "ok", test->category, test->name,
           now_s() - begun, how);
    return status == 0;
}

static bool wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return argc == 1;
}

int main(int argc, char **argv)
{
    struct criterion_test_set *tests = criterion_initialize();
    int failed = 0;
    if (direct_prepare)
        direct_prepare();
    FOREACH_SET (struct criterion_suite_set *set, tests->suites) {
        if (!set->tests || !wanted(set->suite.name, argc, argv))
            continue;
        FOREACH_SET (struct criterion_test *test, set->tests)
            failed += !run(&set->suite, test);
    }
    criterion_finalize(tests);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
