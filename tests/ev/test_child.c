#include <signal.h>
#include <stdio.h>

#include "ev_test.h"

enum { NEVER = -77 };

typedef struct kid {
    ev_child child;
    int status;
    int gate; /* closing it lets the child end */
} kid;

static int ended;

static void on_end(ev_loop *loop, ev_child *child, int status)
{
    (void)loop;
    CONTAINER_OF(child, kid, child)->status = status;
    ended++;
}

/* A child that waits for its gate and exits with `code`. */
static pid_t fork_gated(kid *k, int code)
{
    int gate[2];
    cr_assert_eq(pipe(gate), 0);
    fcntl(gate[1], F_SETFD, FD_CLOEXEC);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        char byte;
        close(gate[1]);
        ssize_t n = read(gate[0], &byte, 1);
        _exit(n == 0 ? code : 99);
    }
    close(gate[0]);
    k->gate = gate[1];
    k->status = NEVER;
    return pid;
}

static pid_t fork_exit(int code)
{
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0)
        _exit(code);
    return pid;
}

/* Until the child has ended, without reaping it. */
static void await_end(pid_t pid)
{
    siginfo_t info;
    cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static void watch(ev_loop *loop, kid *k, pid_t pid)
{
    cr_assert_eq(ev_child_start(loop, &k->child, pid, on_end), 0);
}

Test(ev_child, tells_how_a_child_has_ended)
{
    ev_loop *loop = test_loop();
    kid exits, dies;
    watch(loop, &exits, fork_gated(&exits, 7));
    pid_t pid = fork_gated(&dies, 0);
    watch(loop, &dies, pid);
    kill(pid, SIGKILL);
    close(exits.gate);
    cr_assert_eq(ev_loop_run(loop), 0); /* each is a reference: it runs until both are told */
    cr_assert_eq(ended, 2);
    cr_assert(WIFEXITED(exits.status) && WEXITSTATUS(exits.status) == 7);
    cr_assert(WIFSIGNALED(dies.status) && WTERMSIG(dies.status) == SIGKILL);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "a zombie was left");
    cr_assert_eq(ev_refs(loop), 0);
    close(dies.gate);
    ev_loop_free(loop);
}

Test(ev_child, is_told_of_though_it_ended_before_the_watch_began)
{
    ev_loop *loop = test_loop();
    kid k = {.status = NEVER};
    pid_t pid = fork_exit(3);
    await_end(pid);
    watch(loop, &k, pid);
    cr_assert_eq(k.status, NEVER, "told before the turn");
    cr_assert_eq(ev_loop_turn(loop, -1), 0);
    cr_assert_eq(WEXITSTATUS(k.status), 3);
    ev_loop_free(loop);
}

Test(ev_child, reaps_a_crowd_that_ends_at_once)
{
    enum { N = 100 };
    ev_loop *loop = test_loop();
    kid *kids = calloc(N, sizeof(*kids));
    for (int i = 0; i < N; i++)
        watch(loop, &kids[i], fork_exit(i));
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_eq(ended, N);
    for (int i = 0; i < N; i++)
        cr_assert_eq(WEXITSTATUS(kids[i].status), i);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
    cr_assert_eq(errno, ECHILD);
    free(kids);
    ev_loop_free(loop);
}

Test(ev_child, leaves_the_children_of_others_to_them)
{
    ev_loop *loop = test_loop();
    kid watched;
    /* It has ended before ours do: the kernel names it first, again and again. */
    pid_t foreign = fork_exit(5);
    await_end(foreign);
    FILE *piped = popen("exit 6", "r");
    pid_t pid = fork_gated(&watched, 1);
    watch(loop, &watched, pid);
    cr_assert_eq(system("exit 4") >> 8, 4);
    close(watched.gate);
    test_turn_until(loop, &ended, 1);
    cr_assert_eq(WEXITSTATUS(watched.status), 1);
    cr_assert_eq(pclose(piped) >> 8, 6);
    int status;
    cr_assert_eq(waitpid(foreign, &status, WNOHANG), foreign);
    cr_assert_eq(WEXITSTATUS(status), 5);
    ev_loop_free(loop);
}

Test(ev_child, that_somebody_else_has_reaped_is_told_of_all_the_same)
{
    ev_loop *loop = test_loop();
    kid k;
    pid_t pid = fork_gated(&k, 0);
    watch(loop, &k, pid);
    close(k.gate);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_eq(ended, 1);
    cr_assert_eq(k.status, -1);
    ev_loop_free(loop);
}

Test(ev_child, is_nobodys_once_its_watch_is_stopped)
{
    ev_loop *loop = test_loop();
    kid k;
    int status;
    pid_t pid = fork_gated(&k, 8);
    watch(loop, &k, pid);
    ev_child_stop(loop, &k.child);
    ev_child_stop(loop, &k.child);
    cr_assert_eq(ev_refs(loop), 0);
    close(k.gate);
    await_end(pid);
    test_settle(loop);
    cr_assert_eq(ended, 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(WEXITSTATUS(status), 8);
    ev_child zero = {.pid = 0};
    ev_child_stop(loop, &zero);
    ev_loop_free(loop);
}

static ev_child *pals[2];

static void stop_and_free_both(ev_loop *loop, ev_child *child, int status)
{
    (void)child;
    (void)status;
    ended++;
    for (int i = 0; i < 2; i++) {
        ev_child_stop(loop, pals[i]);
        free(pals[i]);
    }
}

Test(ev_child, can_be_stopped_and_freed_by_the_callback_of_another)
{
    ev_loop *loop = test_loop();
    for (int i = 0; i < 2; i++) {
        pid_t pid = fork_exit(0);
        await_end(pid);
        pals[i] = calloc(1, sizeof(ev_child));
        cr_assert_eq(ev_child_start(loop, pals[i], pid, stop_and_free_both), 0);
    }
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_eq(ended, 1);
    ev_loop_free(loop);
}

static int generations;

static void fork_another(ev_loop *loop, ev_child *child, int status)
{
    (void)status;
    if (++generations < 10)
        cr_assert_eq(ev_child_start(loop, child, fork_exit(0), fork_another), 0);
}

Test(ev_child, can_be_followed_by_another_from_its_callback)
{
    ev_loop *loop = test_loop();
    ev_child child;
    cr_assert_eq(ev_child_start(loop, &child, fork_exit(0), fork_another), 0);
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_eq(generations, 10);
    ev_loop_free(loop);
}

Test(ev_child, refuses_what_is_not_a_child_or_is_watched_already)
{
    ev_loop *loop = test_loop();
    kid k;
    ev_child other;
    cr_assert_eq(ev_child_start(loop, &other, getpid(), on_end), -ECHILD);
    cr_assert_eq(ev_child_start(loop, &other, 0, on_end), -EINVAL);
    cr_assert_eq(ev_child_start(loop, &other, -1, on_end), -EINVAL);
    watch(loop, &k, fork_gated(&k, 0));
    cr_assert_eq(ev_child_start(loop, &other, k.child.pid, on_end), -EEXIST);
    ev_child_stop(loop, &other);
    cr_assert_eq(ev_refs(loop), 1);
    close(k.gate);
    cr_assert_eq(ev_loop_run(loop), 0);
    cr_assert_eq(ended, 1);
    ev_loop_free(loop);
}
