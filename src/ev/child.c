/*
 * Children: reaped by their number, and only those that are watched, so that whoever else starts
 * processes (io.popen, os.execute, a C module) finds his own children to wait for.
 *
 * On SIGCHLD the kernel is asked which child has ended, without reaping it: a watched one is
 * looked up and reaped, and the kernel asked again. The kernel always names the same one first,
 * so where that one is not watched - an io.popen that nobody has closed yet - all the watched
 * ones are asked one by one instead.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "base/mem.h"
#include "loop.h"

enum { BUCKETS = 1024, LOST = -1 };

struct ev_children {
    ev_signal sigchld; /* watched while there are children */
    int count;
    list ended; /* reaped, their callbacks to come */
    list buckets[BUCKETS];
};

static list *bucket_of(ev_children *c, pid_t pid) { return &c->buckets[(unsigned)pid % BUCKETS]; }

static ev_child *find(ev_children *c, pid_t pid)
{
    LIST_EACH (node, bucket_of(c, pid)) {
        ev_child *child = CONTAINER_OF(node, ev_child, link);
        if (child->pid == pid)
            return child;
    }
    return NULL;
}

/* --- reaping --------------------------------------------------------------------------------- */

/* Reaps the child if it has ended. False while it runs. */
static bool reap(ev_children *c, ev_child *child)
{
    int status;
    pid_t pid;
    do
        pid = waitpid(child->pid, &status, WNOHANG);
    while (pid < 0 && errno == EINTR);
    if (pid == 0)
        return false;
    child->status = pid < 0 ? LOST : status;
    list_remove(&child->link);
    list_push_back(&c->ended, &child->link);
    return true;
}

static void reap_one_by_one(ev_children *c)
{
    for (int i = 0; i < BUCKETS; i++) {
        for (list *node = c->buckets[i].next, *next; node != &c->buckets[i]; node = next) {
            next = node->next;
            reap(c, CONTAINER_OF(node, ev_child, link));
        }
    }
}

static void reap_ended(ev_children *c)
{
    for (;;) {
        siginfo_t info = {.si_pid = 0};
        /* It fails where the process has no child at all (somebody has reaped ours), or the
         * system no such question. */
        bool known = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
        if (known && info.si_pid == 0)
            return;
        ev_child *child = known ? find(c, info.si_pid) : NULL;
        if (child && reap(c, child))
            continue;
        reap_one_by_one(c);
        return;
    }
}

/* --- watching --------------------------------------------------------------------------------- */

static void forget(ev_loop *loop, ev_child *child)
{
    ev_children *c = loop->children;
    list_remove(&child->link);
    if (!child->unrefd)
        ev_unref(loop);
    if (--c->count == 0)
        ev_signal_stop(loop, &c->sigchld);
}

static void on_sigchld(ev_loop *loop, ev_signal *watcher)
{
    (void)watcher;
    ev_children *c = loop->children;
    reap_ended(c);
    while (!list_empty(&c->ended)) {
        ev_child *child = CONTAINER_OF(c->ended.next, ev_child, link);
        forget(loop, child);
        child->cb(loop, child, child->status);
    }
}

static ev_children *children_of(ev_loop *loop)
{
    if (!loop->children) {
        ev_children *c = loop->children = mem_new(ev_children);
        list_init(&c->ended);
        for (int i = 0; i < BUCKETS; i++)
            list_init(&c->buckets[i]);
    }
    return loop->children;
}

int ev_child_start(ev_loop *loop, ev_child *child, pid_t pid,
                   void (*cb)(ev_loop *loop, ev_child *child, int status))
{
    list_init(&child->link);
    ev_children *c = children_of(loop);
    if (pid <= 0)
        return -EINVAL;
    if (find(c, pid))
        return -EEXIST;
    if (c->count == 0) {
        int rc = ev_signal_start(loop, &c->sigchld, SIGCHLD, on_sigchld);
        if (rc < 0)
            return rc;
    }

    /* Asked after the signal is watched: a child that ends from now on is told of by it. */
    siginfo_t info = {.si_pid = 0};
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
        int rc = -errno;
        if (c->count == 0)
            ev_signal_stop(loop, &c->sigchld);
        return rc;
    }
    if (info.si_pid == pid)
        signal_raise(loop, SIGCHLD);

    child->cb = cb;
    child->pid = pid;
    child->unrefd = false;
    list_push_back(bucket_of(c, pid), &child->link);
    c->count++;
    ev_ref(loop);
    return 0;
}

void ev_child_unref(ev_loop *loop, ev_child *child)
{
    if (loop_linked(&child->link) && !child->unrefd)
        ev_unref(loop);
    child->unrefd = true;
}

void ev_child_stop(ev_loop *loop, ev_child *child)
{
    if (loop_linked(&child->link))
        forget(loop, child);
}

void children_deinit(ev_loop *loop) { mem_free(loop->children); }
