/*
 * The table of children. An entry is held by the table until its child has ended and its status is
 * among the oldest, and by every handle that Lua has.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "lua/sched.h"
#include "pipe.h"
#include "process.h"
#include "spawn.h"
#include "unit.h"

enum { BUCKETS = 256, KILL_TIMEOUT_MS = 5000 };

typedef struct child {
    links_child pub;
    list link;  /* in its bucket; on none once it has been dropped from the table */
    list order; /* among the running or the ended */
    ev_child watch;
    ev_timer timer; /* of its time, then of its time to die */
    waitq waiters;
    int refs; /* handles, and the table */
    int kill_signal;
    int64_t kill_timeout_ms;
    bool tied;
    bool told; /* it has been asked to end */
} child;

static struct {
    ev_loop *loop;
    list buckets[BUCKETS];
    list running, ended;
    int nended;
} table;

static list *bucket_of(int pid) { return &table.buckets[(unsigned)pid % BUCKETS]; }

static child *find(int pid)
{
    LIST_EACH (node, bucket_of(pid)) {
        child *c = CONTAINER_OF(node, child, link);
        if (c->pub.pid == pid)
            return c;
    }
    return NULL;
}

static void let_go(child *c)
{
    if (--c->refs == 0)
        mem_free(c);
}

static void drop(child *c)
{
    list_remove(&c->link);
    list_remove(&c->order);
    if (c->pub.ended)
        table.nended--;
    let_go(c);
}

/* --- the end of a child -------------------------------------------------------------------- */

static void take_status(links_child *pub, int status)
{
    pub->code = -1;
    if (status == -1) /* somebody else has reaped it */
        return;
    if (WIFEXITED(status))
        pub->code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) {
        pub->signal = WTERMSIG(status);
        pub->core = WCOREDUMP(status) != 0;
    }
}

static void on_end(ev_loop *loop, ev_child *watch, int status)
{
    child *c = CONTAINER_OF(watch, child, watch);
    ev_timer_stop(loop, &c->timer);
    take_status(&c->pub, status);
    c->pub.ended = 1;
    list_remove(&c->order);
    list_push_back(&table.ended, &c->order);
    waitq_wake_all(&c->waiters, 0);
    if (++table.nended > CHILD_MAX_ENDED)
        drop(CONTAINER_OF(table.ended.next, child, order));
}

/* The gentle signal first, then, if that is not heard, the one that nobody can ignore. */
void links_child_stop(links_child *pub)
{
    child *c = CONTAINER_OF(pub, child, pub);
    if (pub->ended || c->told)
        return;
    c->told = true;
    kill(pub->pid, c->kill_signal);
    ev_now_update(table.loop);
    ev_timer_start(table.loop, &c->timer, c->kill_timeout_ms, 0);
}

static void on_timer(ev_loop *loop, ev_timer *timer)
{
    (void)loop;
    child *c = CONTAINER_OF(timer, child, timer);
    if (c->told) {
        kill(c->pub.pid, SIGKILL);
        return;
    }
    c->pub.timed_out = 1;
    links_child_stop(&c->pub);
}

/* --- the beginning ------------------------------------------------------------------------- */

/* A child that runs already becomes an entry of the table. */
static int adopt(child **out, pid_t pid)
{
    child *c = mem_new(child);
    c->pub = (links_child){.pid = pid, .code = -1};
    waitq_init(&c->waiters);
    list_init(&c->link);
    list_init(&c->order);
    ev_timer_init(&c->timer, on_timer);
    c->kill_signal = SIGTERM;
    c->kill_timeout_ms = KILL_TIMEOUT_MS;
    int rc = ev_child_start(table.loop, &c->watch, pid, on_end);
    if (rc < 0) {
        mem_free(c);
        return rc;
    }
    child *former = find(pid); /* the system gives the ids of the dead to others */
    if (former)
        drop(former);
    list_push_back(bucket_of(pid), &c->link);
    list_push_back(&table.running, &c->order);
    c->refs = 1;
    *out = c;
    return 0;
}

static const char *step_name(int step)
{
    static const char *const names[SPAWN_STEPS] = {
        [SPAWN_PIPE] = "pipe",
        [SPAWN_FORK] = "fork",
        [SPAWN_SETSID] = "setsid",
        [SPAWN_AFFINITY] = "affinity",
        [SPAWN_STDIO] = "stdio",
        [SPAWN_SETGROUPS] = "setgroups",
        [SPAWN_SETGID] = "setgid",
        [SPAWN_SETUID] = "setuid",
        [SPAWN_CHDIR] = "chdir",
        [SPAWN_OPEN] = "open",
        [SPAWN_EXEC] = "exec",
        [SPAWN_CHROOT] = "chroot",
        [SPAWN_NO_NEW_PRIVS] = "no_new_privs",
        [SPAWN_CAPABILITIES] = "capabilities",
    };
    return step >= 0 && step < SPAWN_STEPS ? names[step] : "spawn";
}

/* Makes a pipe where one is asked for: our end in `pipes`, the child's in `fds`. */
static int open_pipes(const links_spawn_options *from, links_pipe **pipes, int fds[3],
                      int childs[3])
{
    for (int i = 0; i < 3; i++) {
        int ends[2];
        fds[i] = from->stdio[i];
        if (from->stdio[i] != LINKS_STDIO_PIPE)
            continue;
        int rc = spawn_pipe(ends);
        if (rc < 0)
            return rc;
        int ours = i == 0 ? ends[1] : ends[0];
        fds[i] = childs[i] = i == 0 ? ends[0] : ends[1];
        rc = pipe_new(&pipes[i], table.loop, ours);
        if (rc < 0) {
            close(ours);
            return rc;
        }
    }
    return 0;
}

/* A socket pair where one is asked for: our end in *ours, the child's in *childs. */
static int open_ipc(const links_spawn_options *from, int *ours, int *childs)
{
    int ends[2];
    if (!from->ipc)
        return 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    *ours = ends[0];
    *childs = ends[1];
    return 0;
}

static spawn_options translate(const links_spawn_options *from)
{
    return (spawn_options){
        .ipc = -1,
        .file = from->file,
        .path = from->path,
        .argv = (char *const *)from->argv,
        .env = (char *const *)from->env,
        .cwd = from->cwd,
        .readable = from->readable,
        .set_ids = from->set_ids,
        .uid = from->uid,
        .gid = from->gid,
        .groups = (const gid_t *)from->groups,
        .ngroups = from->ngroups,
        .cpu = from->cpu,
        .detached = from->detached,
        .tied = from->tied,
        .enters = from->enters,
        .no_new_privs = from->no_new_privs,
        .capabilities = (uint64_t)from->capabilities,
    };
}

static void configure(child *c, const links_spawn_options *o)
{
    c->tied = o->tied;
    c->kill_signal = o->kill_signal;
    c->kill_timeout_ms = (int64_t)o->kill_timeout;
    if (o->detached)
        ev_child_unref(table.loop, &c->watch);
    if (o->timeout > 0) {
        ev_now_update(table.loop);
        ev_timer_start(table.loop, &c->timer, (int64_t)o->timeout, 0);
    }
}

/* Starts it and adds it to the table. */
static int start(child **c, spawn_options *o, int *step)
{
    int rc = spawn(o, step);
    if (rc < 0)
        return rc;
    pid_t pid = rc;
    rc = adopt(c, pid);
    if (rc < 0) { /* SIGCHLD is somebody else's: nobody could ever reap it */
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        *step = SPAWN_FORK;
    }
    return rc;
}

int links_spawn(links_child **out, links_pipe **pipes, int *ipc, const links_spawn_options *from,
                const char **step_out)
{
    spawn_options o = translate(from);
    int childs[3] = {-1, -1, -1}, step = SPAWN_PIPE;
    child *c;
    pipes[0] = pipes[1] = pipes[2] = NULL;
    *ipc = -1;

    int rc = open_pipes(from, pipes, o.fds, childs);
    if (rc == 0)
        rc = open_ipc(from, ipc, &o.ipc);
    if (rc == 0)
        rc = start(&c, &o, &step);
    if (o.ipc >= 0)
        close(o.ipc);
    for (int i = 0; i < 3; i++)
        if (childs[i] >= 0)
            close(childs[i]);
    if (rc < 0)
        goto fail;

    configure(c, from);
    c->refs++;
    *out = &c->pub;
    return 0;

fail:
    if (*ipc >= 0)
        close(*ipc);
    for (int i = 0; i < 3; i++) {
        links_pipe_free(pipes[i]);
        pipes[i] = NULL;
    }
    *step_out = step_name(step);
    return rc;
}

/* --- handles ------------------------------------------------------------------------------- */

links_child *links_child_find(int pid)
{
    child *c = find(pid);
    if (!c && adopt(&c, pid) < 0)
        return NULL;
    c->refs++;
    return &c->pub;
}

int links_child_wait(links_child *pub, double timeout_ms)
{
    child *c = CONTAINER_OF(pub, child, pub);
    if (pub->ended)
        return 0;
    if (timeout_ms > 0)
        ev_now_update(table.loop);
    int64_t ms = (int64_t)timeout_ms;
    return sched_park(&c->waiters, ms + ((double)ms < timeout_ms), SCHED_IO, "child");
}

int links_child_kill(links_child *pub, int signum)
{
    if (pub->ended)
        return -ESRCH;
    return kill(pub->pid, signum) < 0 ? -errno : 0;
}

void links_child_free(links_child *pub) { let_go(CONTAINER_OF(pub, child, pub)); }

/* --- all of them --------------------------------------------------------------------------- */

int children_end(void)
{
    int n = 0;
    LIST_EACH (node, &table.running) {
        child *c = CONTAINER_OF(node, child, order);
        if (!c->tied)
            continue;
        n++;
        if (!c->told)
            kill(c->pub.pid, SIGTERM);
        c->told = true;
    }
    return n;
}

void children_open(ev_loop *loop)
{
    struct sigaction action;
    table.loop = loop;
    table.nended = 0;
    list_init(&table.running);
    list_init(&table.ended);
    for (int i = 0; i < BUCKETS; i++)
        list_init(&table.buckets[i]);
    /* Who started us may have ignored it, and then the system keeps no status for anybody. */
    if (sigaction(SIGCHLD, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
        signal(SIGCHLD, SIG_DFL);
}

void children_close(void)
{
    for (list *node; !list_empty(&table.running);) {
        node = table.running.next;
        child *c = CONTAINER_OF(node, child, order);
        ev_timer_stop(table.loop, &c->timer);
        ev_child_stop(table.loop, &c->watch);
        drop(c);
    }
    while (!list_empty(&table.ended))
        drop(CONTAINER_OF(table.ended.next, child, order));
}
