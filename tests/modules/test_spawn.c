#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "modules/process/spawn.h"

extern char **environ;

static spawn_options shell(const char *script, char *argv[4])
{
    argv[0] = "sh";
    argv[1] = "-c";
    argv[2] = (char *)script;
    argv[3] = NULL;
    return (spawn_options){
        .file = "/bin/sh",
        .argv = argv,
        .env = environ,
        .fds = {SPAWN_NULL, SPAWN_INHERIT, SPAWN_INHERIT},
        .cpu = -1,
    };
}

static int status_of(pid_t pid)
{
    int status;
    cr_assert_gt(pid, 0);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return status;
}

/* Runs a script and returns its exit code. */
static int run(const char *script)
{
    char *argv[4];
    int step;
    spawn_options o = shell(script, argv);
    int status = status_of(spawn(&o, &step));
    cr_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void on_signal(int signum) { (void)signum; }

Test(spawn, starts_a_program) { cr_assert_eq(run("exit 7"), 7); }

Test(spawn, tells_which_step_failed_and_leaves_no_child)
{
    char *argv[4];
    int step;
    spawn_options o = shell("exit 0", argv);
    o.file = "/no/such/program";
    cr_assert_eq(spawn(&o, &step), -ENOENT);
    cr_assert_eq(step, SPAWN_EXEC);

    o = shell("exit 0", argv);
    o.cwd = "/no/such/folder";
    cr_assert_eq(spawn(&o, &step), -ENOENT);
    cr_assert_eq(step, SPAWN_CHDIR);

    o = shell("exit 0", argv);
    o.readable = "/";
    cr_assert_eq(spawn(&o, &step), -EISDIR);
    cr_assert_eq(step, SPAWN_OPEN);

    o = shell("exit 0", argv);
    o.fds[1] = 999;
    cr_assert_eq(spawn(&o, &step), -EBADF);
    cr_assert_eq(step, SPAWN_STDIO);

    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
    cr_assert_eq(errno, ECHILD);
}

Test(spawn, opens_no_descriptor_for_good)
{
    char *argv[4];
    int step;
    int before = open("/dev/null", O_RDONLY);
    spawn_options o = shell("exit 0", argv);
    status_of(spawn(&o, &step));
    o.file = "/no/such/program";
    cr_assert_eq(spawn(&o, &step), -ENOENT);
    int after = open("/dev/null", O_RDONLY);
    cr_assert_eq(after, before + 1);
}

Test(spawn, passes_on_no_descriptor_but_three)
{
    char *argv[4], byte;
    int step, ends[2], input[2];
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(pipe(input), 0);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    int copies[20];
    for (int i = 0; i < 20; i++)
        copies[i] = dup(ends[1]);
    spawn_options o = shell("read line", argv);
    o.fds[0] = input[0];
    pid_t pid = spawn(&o, &step);
    cr_assert_gt(pid, 0);
    close(ends[1]);
    for (int i = 0; i < 20; i++)
        close(copies[i]);
    /* The child lives, and if it had one of them there would be no end of file. */
    cr_assert_eq(read(ends[0], &byte, 1), 0);
    close(input[1]);
    cr_assert(WIFEXITED(status_of(pid)));
}

Test(spawn, connects_descriptors_that_are_in_each_others_place)
{
    char *argv[4], text[16] = "";
    int step, in[2], out[2];
    cr_assert_eq(pipe(in), 0);
    cr_assert_eq(pipe(out), 0);
    cr_assert_eq(write(in[1], "input\n", 6), 6);
    /* Its input is our 1, and its output our 0. */
    cr_assert_eq(dup2(in[0], 1), 1);
    cr_assert_eq(dup2(out[1], 0), 0);
    spawn_options o = shell("read word; echo got $word", argv);
    o.fds[0] = 1;
    o.fds[1] = 0;
    cr_assert_eq(status_of(spawn(&o, &step)), 0);
    cr_assert_eq(read(out[0], text, sizeof(text) - 1), 10);
    cr_assert_str_eq(text, "got input\n");
}

Test(spawn, works_where_the_standard_descriptors_are_closed)
{
    char *argv[4];
    int step;
    close(0);
    close(1);
    close(2);
    spawn_options o = shell("echo x && echo y >&2", argv);
    cr_assert_eq(status_of(spawn(&o, &step)), 0);
}

Test(spawn, resets_signals_and_keeps_ours)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t mask, now;
    sigaction(SIGUSR1, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR2);
    sigaddset(&mask, SIGTERM);
    sigprocmask(SIG_SETMASK, &mask, NULL);

    char *argv[4];
    int step;
    const char *const deaths[] = {"kill -USR1 $$", "kill -USR2 $$", "kill -TERM $$",
                                  "kill -PIPE $$"};
    const int signals[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGPIPE};
    for (int i = 0; i < 4; i++) {
        spawn_options o = shell(deaths[i], argv);
        int status = status_of(spawn(&o, &step));
        cr_assert(WIFSIGNALED(status), "%s", deaths[i]);
        cr_assert_eq(WTERMSIG(status), signals[i]);
    }

    sigprocmask(SIG_SETMASK, NULL, &now);
    cr_assert(sigismember(&now, SIGUSR2) && sigismember(&now, SIGTERM));
    cr_assert(!sigismember(&now, SIGUSR1));
    sigaction(SIGUSR1, NULL, &action);
    cr_assert_eq(action.sa_handler, on_signal);
}

Test(spawn, looks_along_the_path_and_refuses_what_is_too_long)
{
    char *argv[] = {"sh", "-c", "exit 3", NULL}, name[5000];
    int step;
    spawn_options o = shell("", argv);
    argv[2] = "exit 3";
    o.file = "sh";
    o.path = "/no/such/folder:/etc/passwd::/bin";
    cr_assert_eq(WEXITSTATUS(status_of(spawn(&o, &step))), 3);
    o.path = NULL;
    cr_assert_eq(WEXITSTATUS(status_of(spawn(&o, &step))), 3);
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    o.file = name;
    cr_assert_eq(spawn(&o, &step), -ENOENT);
    o.file = "";
    cr_assert_eq(spawn(&o, &step), -ENOENT);
}

Test(spawn, closes_all_descriptors_from_one_on)
{
    int fds[64];
    for (int i = 0; i < 64; i++)
        fds[i] = dup(0);
    int last = fds[63];
    spawn_close_from(fds[10]);
    for (int i = 0; i < 64; i++)
        cr_assert_eq(fcntl(fds[i], F_GETFD) >= 0, i < 10);
    cr_assert_lt(fcntl(last, F_GETFD), 0);
}
