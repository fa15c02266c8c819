#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "modules/metrics/metrics.h"

static int counter(const char *name)
{
    return links_metrics_family(LINKS_METRIC_COUNTER, name, strlen(name), "", 0, NULL, 0);
}

static int gauge(const char *name)
{
    return links_metrics_family(LINKS_METRIC_SUM, name, strlen(name), "", 0, NULL, 0);
}

static double *series(int family, const char *labels)
{
    return links_metrics_series(family, labels, strlen(labels));
}

Test(metrics, has_one_record_for_a_name)
{
    cr_assert_eq(links_metrics_open(0), 0);
    int family = counter("hits");
    cr_assert_gt(family, 0);
    cr_assert_eq(counter("hits"), family);
    cr_assert_neq(gauge("hits"), family);
    double *cell = series(family, "a=\"1\"");
    cr_assert_eq(*cell, 0);
    *cell += 2;
    links_slab slab;
    cr_assert_eq(links_metrics_slab(0, &slab), 1);
    cr_assert_eq(links_metrics_slab(1, &slab), 0);
    cr_assert_eq(slab.alive, 1);
    metrics_close();
}

Test(metrics, puts_a_value_on_a_bound_below_it)
{
    const double bounds[] = {1, 2, 4};
    double cells[5] = {0};
    const double values[] = {-1, 1, 1.5, 2, 4, 4.5, INFINITY};
    for (int i = 0; i < 6; i++)
        links_metrics_observe(cells, bounds, 3, values[i]);
    cr_assert_eq(cells[0], 2);
    cr_assert_eq(cells[1], 2);
    cr_assert_eq(cells[2], 1);
    cr_assert_eq(cells[3], 1);
    cr_assert_eq(cells[4], 12);
    links_metrics_observe(cells, bounds, 3, values[6]);
    cr_assert_eq(cells[3], 2);
}

Test(metrics, says_where_there_is_no_room)
{
    static char text[65536];
    memset(text, 'x', sizeof(text));
    cr_assert_eq(counter("early"), LINKS_FULL, "before it is opened");
    cr_assert_null(links_metrics_series(8, "", 0));
    cr_assert_eq(links_metrics_open(0), 0);
    int family = counter("hits");
    cr_assert_null(links_metrics_series(family, text, sizeof(text)));
    cr_assert_eq(links_metrics_family(1, text, sizeof(text), "", 0, NULL, 0), LINKS_TOO_LARGE);
    int n = 0;
    while (links_metrics_series(family, text, 30000))
        n++;
    cr_assert(n > 5 && n < 40, "%d", n);
    cr_assert_eq(links_metrics_family(1, text, 30000, "", 0, NULL, 0), LINKS_FULL);
    cr_assert_not_null(series(family, "small"), "what is small still fits");
    metrics_close();
}

/* As a worker does, in memory that it has from its master. */
static void count_and_die(int how)
{
    int family = counter("hits");
    *series(family, "") += 5;
    *series(gauge("level"), "") = 7;
    if (how == SIGKILL)
        raise(SIGKILL);
    metrics_close();
    _exit(0);
}

static void run_one(int how)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (links_metrics_open(2) < 0)
            _exit(1);
        count_and_die(how);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(how ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

Test(metrics, goes_on_where_a_dead_process_was)
{
    cr_assert_geq(metrics_lend(2), 0);
    cr_assert_eq(metrics_lend(2), metrics_lend(2));
    run_one(0);
    run_one(SIGKILL);
    links_slab slab;
    cr_assert_eq(links_metrics_slab(0, &slab), 1);
    cr_assert_eq(slab.alive, 0);
    cr_assert_eq(links_metrics_open(2), 0);
    cr_assert_eq(*series(counter("hits"), ""), 10);
    cr_assert_eq(*series(gauge("level"), ""), 0, "a gauge is gone with its process");
    cr_assert_eq(links_metrics_slab(0, &slab), 1);
    cr_assert_eq(slab.alive, 1);
    cr_assert_eq(links_metrics_slab(5, &slab), 1);
    cr_assert_eq(links_metrics_slab(6, &slab), 0);
    metrics_close();
}

Test(metrics, of_a_process_by_itself_stay_when_it_becomes_a_master)
{
    cr_assert_eq(links_metrics_open(0), 0);
    double *cell = series(counter("hits"), "");
    *cell = 3;
    cr_assert_geq(metrics_lend(2), 0);
    *cell += 1;
    links_slab slab;
    cr_assert_eq(links_metrics_slab(0, &slab), 1);
    cr_assert_eq(slab.cells[0], 4);
    cr_assert_eq(slab.alive, 1);
    cr_assert_eq(counter("hits"), (int)slab.from);
    metrics_close();
}

Test(metrics, are_not_lent_to_too_many)
{
    cr_assert_lt(metrics_lend(0), 0);
    cr_assert_lt(metrics_lend(1025), 0);
}
