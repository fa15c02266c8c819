#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

#include "ev_test.h"

typedef struct job {
    ev_work work;
    int done;
    int result;
    bool on_loops_thread;
} job;

static pthread_t loops_thread;
static int worked; /* atomic */
static int done;

static void on_done(ev_loop *loop, ev_work *work)
{
    (void)loop;
    job *j = CONTAINER_OF(work, job, work);
    j->done++;
    j->result = work->result;
    j->on_loops_thread = pthread_equal(pthread_self(), loops_thread);
    done++;
}

static void do_work(ev_work *work)
{
    (void)work;
    if (!pthread_equal(pthread_self(), loops_thread))
        __atomic_add_fetch(&worked, 1, __ATOMIC_SEQ_CST);
}

static ev_loop *pool_loop(const char *threads)
{
    loops_thread = pthread_self();
    if (threads)
        setenv("LINKS_THREADS", threads, 1);
    else
        unsetenv("LINKS_THREADS");
    return test_loop();
}

Test(ev_work, is_done_by_threads_and_told_of_in_the_loops)
{
    enum { N = 200 };
    ev_loop *loop = pool_loop(NULL);
    job *jobs = calloc(N, sizeof(*jobs));
    for (int i = 0; i < N; i++)
        cr_assert_eq(ev_work_submit(loop, &jobs[i].work, do_work, on_done), 0);
    cr_assert_eq(ev_refs(loop), N);
    cr_assert_eq(ev_loop_run(loop), 0); /* it runs as long as there is work */
    cr_assert_eq(worked, N);
    cr_assert_eq(ev_refs(loop), 0);
    for (int i = 0; i < N; i++)
        cr_assert(jobs[i].done == 1 && jobs[i].result == 0 && jobs[i].on_loops_thread);
    cr_assert_eq(ev_loop_run(loop), 0); /* idle threads do not keep it running */
    free(jobs);
    ev_loop_free(loop);
}

static pthread_barrier_t barrier;

static void meet(ev_work *work)
{
    (void)work;
    pthread_barrier_wait(&barrier);
}

Test(ev_work, is_done_by_as_many_threads_at_a_time_as_asked_for)
{
    static const char *const asked[] = {"1", "7", NULL};
    static const unsigned threads[] = {1, 7, 4};
    for (int k = 0; k < 3; k++) {
        ev_loop *loop = pool_loop(asked[k]);
        job jobs[7] = {0};
        pthread_barrier_init(&barrier, NULL, threads[k]);
        for (unsigned i = 0; i < threads[k]; i++)
            cr_assert_eq(ev_work_submit(loop, &jobs[i].work, meet, on_done), 0);
        cr_assert_eq(ev_loop_run(loop), 0); /* never, if one of them were missing */
        ev_loop_free(loop);
        pthread_barrier_destroy(&barrier);
    }
}

/* --- what blocks until the test lets it go ---------------------------------------------------- */

static sem_t begun, gate;

static void block(ev_work *work)
{
    (void)work;
    sem_post(&begun);
    sem_wait(&gate);
}

/* A loop with one thread, and that one busy with `j`. */
static ev_loop *blocked_loop(job *j)
{
    ev_loop *loop = pool_loop("1");
    sem_init(&begun, 0, 0);
    sem_init(&gate, 0, 0);
    cr_assert_eq(ev_work_submit(loop, &j->work, block, on_done), 0);
    while (sem_wait(&begun) < 0) {
    }
    return loop;
}

Test(ev_work, is_canceled_before_it_begins_and_not_after)
{
    job running = {.done = 0}, waiting = {.done = 0};
    ev_loop *loop = blocked_loop(&running);
    cr_assert_eq(ev_work_submit(loop, &waiting.work, do_work, on_done), 0);
    cr_assert(ev_work_cancel(loop, &waiting.work));
    cr_assert(ev_work_cancel(loop, &waiting.work), "it is still canceled");
    cr_assert_eq(waiting.done, 0, "told before it could be expected");
    cr_assert_not(ev_work_cancel(loop, &running.work));
    test_turn_until(loop, &waiting.done, 1);
    cr_assert_eq(waiting.result, -ECANCELED);
    sem_post(&gate);
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_eq(running.result, 0);
    cr_assert_eq(running.done + waiting.done, 2);
    cr_assert_eq(worked, 0);
    cr_assert_not(ev_work_cancel(loop, &running.work), "it is over");
    ev_loop_free(loop);
}

Test(ev_work, is_refused_when_too_much_waits_and_accepted_again_after)
{
    enum { N = EV_WORK_MAX_QUEUED };
    job running = {.done = 0}, extra = {.done = 0};
    job *jobs = calloc(N, sizeof(*jobs));
    ev_loop *loop = blocked_loop(&running);
    for (int i = 0; i < N; i++)
        cr_assert_eq(ev_work_submit(loop, &jobs[i].work, do_work, on_done), 0);
    cr_assert_eq(ev_work_submit(loop, &extra.work, do_work, on_done), -EAGAIN);
    cr_assert(ev_work_cancel(loop, &jobs[N / 2].work));
    cr_assert_eq(ev_work_submit(loop, &extra.work, do_work, on_done), 0);
    sem_post(&gate);
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_eq(worked, N);
    cr_assert_eq(done, N + 2);
    cr_assert_eq(extra.done, 1);
    free(jobs);
    ev_loop_free(loop);
}

static void open_gate(ev_work *work)
{
    (void)work;
    sem_post(&gate);
}

static int refusal;

static void submit_when_done(ev_loop *loop, ev_work *work)
{
    static job late;
    on_done(loop, work);
    refusal = ev_work_submit(loop, &late.work, do_work, on_done);
}

/* The running one is waited for: `freer` lets it go when the loop is being freed already, or a
 * moment before; both must do. */
static void *let_go(void *unused)
{
    open_gate(unused);
    return NULL;
}

Test(ev_work, is_told_of_exactly_once_when_the_loop_is_freed)
{
    job running = {.done = 0}, waiting[3] = {0};
    ev_loop *loop = blocked_loop(&running);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(ev_work_submit(loop, &waiting[i].work, do_work, submit_when_done), 0);
    cr_assert(ev_work_cancel(loop, &waiting[1].work));
    pthread_t freer;
    cr_assert_eq(pthread_create(&freer, NULL, let_go, NULL), 0);
    ev_loop_free(loop);
    pthread_join(freer, NULL);
    cr_assert_eq(running.done, 1);
    cr_assert_eq(running.result, 0);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(waiting[i].done, 1);
        cr_assert(waiting[i].on_loops_thread);
    }
    cr_assert_eq(waiting[1].result, -ECANCELED);
    cr_assert_eq(refusal, -ECANCELED);
}

/* --- callbacks that go on --------------------------------------------------------------------- */

static void submit_again(ev_loop *loop, ev_work *work)
{
    if (++done < 50)
        cr_assert_eq(ev_work_submit(loop, work, do_work, submit_again), 0);
    else
        free(work);
}

Test(ev_work, can_be_submitted_again_or_freed_when_it_is_done)
{
    ev_loop *loop = pool_loop("2");
    ev_work *work = malloc(sizeof(*work));
    cr_assert_eq(ev_work_submit(loop, work, do_work, submit_again), 0);
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_eq(worked, 50);
    ev_loop_free(loop);
}

static int signals_let_through;

static void look_at_mask(ev_work *work)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGCHLD, SIGUSR1, SIGALRM, SIGPIPE, SIGHUP};
    (void)work;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        signals_let_through += !sigismember(&mask, signals[i]);
}

Test(ev_work, is_never_disturbed_by_signals)
{
    ev_loop *loop = pool_loop("1");
    job j = {.done = 0};
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    cr_assert_eq(ev_work_submit(loop, &j.work, look_at_mask, on_done), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_eq(j.done, 1);
    cr_assert_eq(signals_let_through, 0);
    cr_assert_eq(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
    ev_loop_free(loop);
}

/* --- bad settings, no threads ----------------------------------------------------------------- */

Test(ev_work, takes_one_to_sixty_four_threads_and_nothing_else)
{
    static const char *const bad[] = {"0", "65", "-1", "x", "4x", "99999999999999999999", " "};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ev_loop *loop = pool_loop(bad[i]);
        job j = {.done = 0};
        cr_assert_eq(ev_work_threads(), -EINVAL, "\"%s\"", bad[i]);
        cr_assert_eq(ev_work_submit(loop, &j.work, do_work, on_done), -EINVAL);
        cr_assert_eq(ev_refs(loop), 0);
        ev_loop_free(loop);
    }
    setenv("LINKS_THREADS", "64", 1);
    cr_assert_eq(ev_work_threads(), 64);
    setenv("LINKS_THREADS", "", 1);
    cr_assert_eq(ev_work_threads(), 4);
    unsetenv("LINKS_THREADS");
    cr_assert_eq(ev_work_threads(), 4);
}

#if defined(__GLIBC__) && defined(__x86_64__)
int pthread_setattr_default_np(const pthread_attr_t *attr);

/* Threads with stacks larger than the address space cannot be made. */
Test(ev_work, is_refused_where_not_one_thread_can_be_made)
{
    ev_loop *loop = pool_loop("2");
    job j = {.done = 0};
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, (size_t)1 << 47);
    cr_assert_eq(pthread_setattr_default_np(&attr), 0);
    int rc = ev_work_submit(loop, &j.work, do_work, on_done);
    cr_assert_lt(rc, 0);
    cr_assert_eq(ev_refs(loop), 0);
    pthread_attr_setstacksize(&attr, 1 << 20);
    cr_assert_eq(pthread_setattr_default_np(&attr), 0);
    cr_assert_eq(ev_work_submit(loop, &j.work, do_work, on_done), 0);
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_eq(j.done, 1);
    ev_loop_free(loop);
    pthread_attr_destroy(&attr);
}
#endif

Test(ev_work, is_not_canceled_where_there_never_was_any)
{
    ev_loop *loop = pool_loop(NULL);
    ev_work never = {.state = 0};
    cr_assert_not(ev_work_cancel(loop, &never));
    ev_loop_free(loop);
}
