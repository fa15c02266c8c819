#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

#define USUAL_PATH "/usr/local/bin:/usr/bin:/bin"

/* Where the child keeps the pipe that tells of its failure, next to what it inherits. */
enum { ERROR_FD = SPAWN_IPC_FD + 1 };

enum { EXIT_NOT_STARTED = 127, NGROUPS = 1024 };

typedef struct failure {
    int32_t step;
    int32_t error;
} failure;

enum { C_STACK_MIB = 96 };

/* A limit that we raise for ourselves: what it should be, was, and has become. */
typedef struct raised {
    int resource;
    rlim_t want;
    bool done;
    struct rlimit before, since;
} raised;

/* A server wants as many descriptors as it may have. And LuaJIT bounds the depth of the Lua stack,
 * but each level of string.gsub within string.gsub takes 8 KiB of the C stack too: at its bound,
 * where it raises its error, they are 58 MiB. Linux looks at this limit as the stack grows. */
static raised limits[] = {
    {.resource = RLIMIT_NOFILE, .want = RLIM_INFINITY},
    {.resource = RLIMIT_STACK, .want = (rlim_t)C_STACK_MIB << 20},
};

enum { LIMITS = (int)(sizeof(limits) / sizeof(*limits)) };

static void raise_limit(raised *r)
{
    struct rlimit limit;
    if (r->done || getrlimit(r->resource, &limit) < 0 || limit.rlim_cur >= r->want ||
        limit.rlim_cur == limit.rlim_max)
        return;
    r->before = limit;
    limit.rlim_cur = r->want < limit.rlim_max ? r->want : limit.rlim_max;
    r->done = setrlimit(r->resource, &limit) == 0;
    r->since = limit;
}

void spawn_raise_limits(void)
{
    for (int i = 0; i < LIMITS; i++)
        raise_limit(&limits[i]);
}

/* --- the child ----------------------------------------------------------------------------- */

static _Noreturn void give_up(int fd, int step, int error)
{
    failure f = {.step = step, .error = error};
    ssize_t n = write(fd, &f, sizeof(f));
    (void)n; /* the parent sees an exit code of 127 then */
    _exit(EXIT_NOT_STARTED);
}

/* Handlers are the parent's code, and would run on its memory. What is ignored stays so (nohup),
 * but for two that no program expects: SIGPIPE and SIGCHLD. All signals are blocked here. */
static void reset_signals(void)
{
    struct sigaction action, standard = {.sa_handler = SIG_DFL};
    sigemptyset(&standard.sa_mask);
    for (int signum = 1; signum < NSIG; signum++) {
        if (sigaction(signum, NULL, &action) < 0 || action.sa_handler == SIG_DFL)
            continue;
        if (action.sa_handler != SIG_IGN || signum == SIGPIPE || signum == SIGCHLD)
            sigaction(signum, &standard, NULL);
    }
}

static int open_null(void) { return open("/dev/null", O_RDWR | O_CLOEXEC); }

/* A descriptor for the child's `number`, above those that are being set up. */
static int source_of(const spawn_options *o, int number)
{
    int fd = o->fds[number];
    if (fd == SPAWN_INHERIT)
        fd = fcntl(number, F_GETFD) < 0 ? SPAWN_NULL : number;
    if (fd != SPAWN_NULL)
        return fcntl(fd, F_DUPFD_CLOEXEC, ERROR_FD + 1);
    fd = open_null();
    if (fd < 0)
        return fd;
    return fcntl(fd, F_DUPFD_CLOEXEC, ERROR_FD + 1); /* the low one is covered or closed */
}

/* Leaves 0, 1, 2, the way for messages and the error pipe. Returns where that pipe is now, or
 * -errno. */
static int arrange_descriptors(const spawn_options *o, int error_fd)
{
    int sources[3] = {-1, -1, -1}, ipc = -1;
    error_fd = fcntl(error_fd, F_DUPFD_CLOEXEC, ERROR_FD + 1);
    if (error_fd < 0)
        return -errno;
    for (int i = 0; i < 3; i++) {
        sources[i] = i == 2 && o->fds[2] == SPAWN_STDOUT ? sources[1] : source_of(o, i);
        if (sources[i] < 0)
            return -errno;
    }
    if (o->ipc >= 0 && (ipc = fcntl(o->ipc, F_DUPFD_CLOEXEC, ERROR_FD + 1)) < 0)
        return -errno;
    for (int i = 0; i < 3; i++)
        if (dup2(sources[i], i) < 0)
            return -errno;
    if (ipc < 0)
        close(SPAWN_IPC_FD);
    else if (dup2(ipc, SPAWN_IPC_FD) < 0)
        return -errno;
    if (dup2(error_fd, ERROR_FD) < 0 || fcntl(ERROR_FD, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    spawn_close_from(ERROR_FD + 1);
    return ERROR_FD;
}

static int try_read(const char *path)
{
    char byte;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    /* A directory opens, and only then cannot be read. */
    int rc = read(fd, &byte, 1) < 0 && errno != EAGAIN ? -errno : 0;
    close(fd);
    return rc;
}

/* Only if it is still the one that we made: a program may have set its own. */
static void restore_limit(const raised *r)
{
    struct rlimit now;
    if (r->done && getrlimit(r->resource, &now) == 0 && now.rlim_cur == r->since.rlim_cur &&
        now.rlim_max == r->since.rlim_max)
        setrlimit(r->resource, &r->before);
}

/* As execvp, but what cannot be executed is an error and not given to a shell. Returns -errno. */
static int exec(const spawn_options *o)
{
    char full[PATH_MAX];
    const char *path = o->path ? o->path : USUAL_PATH;
    size_t len = strlen(o->file);
    int error = ENOENT;
    if (len == 0)
        return -ENOENT;
    if (strchr(o->file, '/')) {
        execve(o->file, o->argv, o->env);
        return -errno;
    }
    for (const char *end;; path = end + 1) {
        end = strchr(path, ':');
        size_t dir = end ? (size_t)(end - path) : strlen(path);
        if (dir + len + 2 <= sizeof(full)) {
            memcpy(full, path, dir);
            if (dir) /* an empty one is the working directory */
                full[dir++] = '/';
            memcpy(full + dir, o->file, len + 1);
            execve(full, o->argv, o->env);
            if (errno == EACCES)
                error = EACCES; /* and go on: a later one may do */
            else if (errno != ENOENT && errno != ENOTDIR)
                return -errno;
        }
        if (!end)
            return -error;
    }
}

/* Those of the user that the program is to run as. */
static void enter(const spawn_options *o, int error_fd, pid_t parent)
{
    int rc, step;
    if (o->capabilities && (rc = spawn_keep_capabilities()) < 0)
        give_up(error_fd, SPAWN_CAPABILITIES, -rc);
    if (o->set_ids && (rc = spawn_set_ids(o, &step)) < 0)
        give_up(error_fd, step, -rc);
    if (o->capabilities && (rc = spawn_set_capabilities(o->capabilities, !o->enters)) < 0)
        give_up(error_fd, SPAWN_CAPABILITIES, -rc);
    if (o->cwd && chdir(o->cwd) < 0)
        give_up(error_fd, SPAWN_CHDIR, errno);
    if (o->readable && (rc = try_read(o->readable)) < 0)
        give_up(error_fd, SPAWN_OPEN, -rc);
    if (o->tied) /* a change of the user would end it */
        spawn_tie(parent);
}

static _Noreturn void child(const spawn_options *o, int error_fd, pid_t parent)
{
    int rc;
    reset_signals();
    if (o->detached && setsid() < 0)
        give_up(error_fd, SPAWN_SETSID, errno);
    if (o->cpu >= 0 && (rc = spawn_set_cpu(o->cpu)) < 0)
        give_up(error_fd, SPAWN_AFFINITY, -rc);
    if (o->no_new_privs && (rc = spawn_no_new_privs()) < 0)
        give_up(error_fd, SPAWN_NO_NEW_PRIVS, -rc);
    if ((rc = arrange_descriptors(o, error_fd)) < 0)
        give_up(error_fd, SPAWN_STDIO, -rc);
    error_fd = rc;
    if (!o->enters)
        enter(o, error_fd, parent);
    else if (fcntl(error_fd, F_SETFD, 0) < 0)
        give_up(error_fd, SPAWN_STDIO, errno);
    for (int i = 0; i < LIMITS; i++)
        restore_limit(&limits[i]);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    give_up(error_fd, SPAWN_EXEC, -exec(o));
}

/* --- the child, once it is links -------------------------------------------------------------- */

/* Takes a variable out of the environment: a copy, NULL for none. */
static char *take_variable(const char *name)
{
    const char *value = getenv(name);
    char *copy = value ? mem_strdup(value) : NULL;
    unsetenv(name);
    return copy;
}

/* "parent uid gid group group ...", or "parent" alone: lib/links/process/start.lua writes it. */
static pid_t read_ids(const char *text, spawn_options *o, gid_t *groups, int max)
{
    char *at = NULL;
    pid_t parent = text ? (pid_t)strtol(text, &at, 10) : 0;
    if (!at || !*at)
        return parent;
    o->set_ids = true;
    o->uid = (uid_t)strtoul(at, &at, 10);
    o->gid = (gid_t)strtoul(at, &at, 10);
    o->groups = groups;
    while (*at && o->ngroups < max)
        groups[o->ngroups++] = (gid_t)strtoul(at, &at, 10);
    return parent;
}

/* What was kept for the sake of the exec is not for the programs that this one starts. */
static void take_capabilities(spawn_options *o, bool entered)
{
    char *text = take_variable("LINKS_CAPABILITIES");
    o->capabilities = text ? strtoull(text, NULL, 16) : 0;
    mem_free(text);
    if (entered || !o->capabilities)
        return;
    (void)spawn_set_capabilities(o->capabilities, false); /* it asks for no more than there is */
    o->capabilities = 0;
}

void spawn_enter(void)
{
    gid_t groups[NGROUPS];
    spawn_options o = {.enters = true};
    char *root = take_variable("LINKS_ENTER_ROOT"), *cwd = take_variable("LINKS_ENTER_CWD");
    char *file = take_variable("LINKS_ENTER_FILE"), *ids = take_variable("LINKS_ENTER_IDS");
    take_capabilities(&o, root != NULL);
    if (root) {
        o.cwd = cwd;
        o.readable = file;
        pid_t parent = read_ids(ids, &o, groups, NGROUPS);
        o.tied = parent > 0;
        if (chroot(root) < 0 || chdir("/") < 0)
            give_up(ERROR_FD, SPAWN_CHROOT, errno);
        enter(&o, ERROR_FD, parent);
        close(ERROR_FD);
    }
    mem_free(root);
    mem_free(cwd);
    mem_free(file);
    mem_free(ids);
}

/* --- the parent ---------------------------------------------------------------------------- */

/* A function of its own, with nothing in its frame that the child could spoil: they share it. */
static __attribute__((noinline)) pid_t start(const spawn_options *o, int error_fd)
{
    pid_t parent = getpid();
    pid_t pid = vfork();
    if (pid == 0)
        child(o, error_fd, parent);
    return pid;
}

/* The child's failure; 0 where it has become the program. */
static int read_failure(int fd, int *step)
{
    failure f;
    ssize_t n;
    do
        n = read(fd, &f, sizeof(f));
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(f))
        return 0;
    *step = f.step;
    return -f.error;
}

static void reap(pid_t pid)
{
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

pid_t spawn(const spawn_options *options, int *step)
{
    int ends[2];
    sigset_t all, before;
    *step = SPAWN_PIPE;
    int rc = spawn_pipe(ends);
    if (rc < 0)
        return rc;

    *step = SPAWN_FORK;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = start(options, ends[1]);
    rc = pid < 0 ? -errno : 0;
    sigprocmask(SIG_SETMASK, &before, NULL);

    close(ends[1]);
    if (rc == 0) {
        rc = read_failure(ends[0], step);
        if (rc < 0)
            reap(pid);
    }
    close(ends[0]);
    return rc < 0 ? rc : pid;
}
