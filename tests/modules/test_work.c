#define _GNU_SOURCE
#include "modules/work.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>

#include "base/mem.h"
#include "lua/vm.h"

static ev_loop *loop;
static sem_t gate; /* what blocks waits for it */
static int ran, over, freed;

typedef struct job {
    work work;
    bool blocks;
    bool ran;
} job;

static void job_run(work *w)
{
    job *j = CONTAINER_OF(w, job, work);
    if (j->blocks)
        sem_wait(&gate);
    j->ran = true;
}

static void job_over(work *w)
{
    over++;
    ran += CONTAINER_OF(w, job, work)->ran;
}

static void job_free(work *w)
{
    freed++;
    mem_free(CONTAINER_OF(w, job, work));
}

static const work_ops ops = {job_run, job_over, job_free};

static job *job_start(bool blocks)
{
    job *j = mem_new(job);
    work_init(&j->work, &ops);
    j->blocks = blocks;
    cr_assert_eq(work_start(&j->work), 0);
    return j;
}

static void setup(void)
{
    setenv("LINKS_THREADS", "2", 1);
    loop = ev_loop_new();
    cr_assert_eq(vm_open(loop), 0);
    sem_init(&gate, 0, 0);
}

static void teardown(void)
{
    vm_close();
    work_close();
    ev_loop_free(loop);
}

TestSuite(work, .init = setup, .fini = teardown, .timeout = 120);

static void turn_until(const int *count, int n)
{
    while (*count < n)
        cr_assert_eq(ev_loop_turn(loop, 1000), 0);
}

Test(work, is_run_once_and_freed_when_its_owner_leaves)
{
    job *j = job_start(false);
    turn_until(&over, 1);
    cr_assert(work_is_over(&j->work));
    cr_assert_eq(work_wait(&j->work, "test"), 0);
    cr_assert_eq(freed, 0);
    work_leave(&j->work);
    cr_assert_eq(freed, 1);
    cr_assert_eq(ran, 1);
}

Test(work, outlives_an_owner_who_leaves_while_it_runs)
{
    job *j = job_start(true);
    while (__atomic_load_n(&j->work.ev.state, __ATOMIC_RELAXED) == 1)
        ev_loop_turn(loop, 1); /* queued: until a thread has it */
    work_leave(&j->work);
    cr_assert_eq(freed, 0);
    sem_post(&gate);
    turn_until(&freed, 1);
    cr_assert_eq(ran, 1);
}

Test(work, is_never_run_when_its_owner_leaves_before)
{
    job *first = job_start(true), *second = job_start(true), *third = job_start(false);
    work_leave(&third->work);
    turn_until(&freed, 1);
    cr_assert_eq(ran, 0);
    sem_post(&gate);
    sem_post(&gate);
    turn_until(&over, 3);
    cr_assert_eq(ran, 2);
    work_leave(&first->work);
    work_leave(&second->work);
    cr_assert_eq(freed, 3);
}

Test(work, waits_for_room_in_the_pool)
{
    enum { N = EV_WORK_MAX_QUEUED + 500 };
    job *jobs[N];
    for (int i = 0; i < N; i++)
        jobs[i] = job_start(i < 2);
    work_leave(&jobs[N - 1]->work);
    cr_assert_eq(freed, 1, "what waits here goes at once");
    sem_post(&gate);
    sem_post(&gate);
    turn_until(&over, N);
    cr_assert_eq(ran, N - 1);
    for (int i = 0; i < N - 1; i++)
        work_leave(&jobs[i]->work);
    cr_assert_eq(freed, N);
    cr_assert_eq(ev_refs(loop), 0);
}

static void nothing(ev_work *w) { (void)w; }
static void waits(ev_work *w) { (void)w, sem_wait(&gate); }
static void others_done(ev_loop *l, ev_work *w) { (void)l, (void)w; }

Test(work, gets_into_a_pool_that_others_had_filled)
{
    static ev_work others[EV_WORK_MAX_QUEUED + 2];
    int n = 0;
    while (n < EV_WORK_MAX_QUEUED + 2 &&
           ev_work_submit(loop, &others[n], n < 2 ? waits : nothing, others_done) == 0)
        n++;
    job *j = job_start(false);
    ev_loop_turn(loop, 10);
    cr_assert_eq(over, 0);
    sem_post(&gate);
    sem_post(&gate);
    turn_until(&over, 1);
    cr_assert_eq(ran, 1);
    work_leave(&j->work);
}

Test(work, that_waits_at_the_end_of_the_process_is_never_run)
{
    enum { N = EV_WORK_MAX_QUEUED + 10 };
    for (int i = 0; i < N; i++)
        job_start(i < 2)->work.owned = false;
    work_close();
    cr_assert_geq(freed, 1);
    sem_post(&gate);
    sem_post(&gate);
    turn_until(&freed, N);
    cr_assert_lt(ran, N);
}

Test(work, is_refused_when_too_much_waits)
{
    enum { N = EV_WORK_MAX_QUEUED + WORK_MAX_WAITING + 2 };
    int started = 0, rc = 0;
    while (started <= N) {
        job *j = mem_new(job);
        work_init(&j->work, &ops);
        j->blocks = started < 2;
        rc = work_start(&j->work);
        if (rc < 0) {
            mem_free(j);
            break;
        }
        j->work.owned = false;
        started++;
    }
    cr_assert_eq(rc, LINKS_POOL_FULL);
    cr_assert_geq(started, WORK_MAX_WAITING);
    sem_post(&gate);
    sem_post(&gate);
    work_close();
    turn_until(&freed, started);
}
