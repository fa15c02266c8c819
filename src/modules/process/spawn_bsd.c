/*
 * The parts of a spawn that the BSDs and macOS do their own way. Written from the manual pages.
 */
#include <sys/param.h>
#include <sys/types.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <unistd.h>

#include "base/err.h"
#include "spawn.h"

#ifdef __FreeBSD__
#include <sys/cpuset.h>
#include <sys/procctl.h>
#endif

#ifdef __APPLE__
int spawn_pipe(int ends[2])
{
    if (pipe(ends) < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        if (fcntl(ends[i], F_SETFD, FD_CLOEXEC) < 0) {
            int rc = -errno;
            close(ends[0]);
            close(ends[1]);
            return rc;
        }
    }
    return 0;
}

void spawn_close_from(int first)
{
    int end = getdtablesize();
    for (int fd = first; fd < end; fd++)
        close(fd);
}
#else
int spawn_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0; }

void spawn_close_from(int first) { closefrom(first); }
#endif

int spawn_set_ids(const spawn_options *o, int *step)
{
    *step = SPAWN_SETGROUPS;
    if (geteuid() == 0 && setgroups(o->ngroups, o->groups) < 0)
        return -errno;
    *step = SPAWN_SETGID;
    if (setgid(o->gid) < 0)
        return -errno;
    *step = SPAWN_SETUID;
    if (setuid(o->uid) < 0)
        return -errno;
    return 0;
}

#ifdef __FreeBSD__
int spawn_set_cpu(int cpu)
{
    cpuset_t set;
    if (cpu >= CPU_SETSIZE)
        return -EINVAL;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (cpuset_setaffinity(CPU_LEVEL_WHICH, CPU_WHICH_PID, -1, sizeof(set), &set) < 0)
        return -errno;
    return 0;
}

void spawn_tie(pid_t parent)
{
    int signum = SIGTERM;
    procctl(P_PID, 0, PROC_PDEATHSIG_CTL, &signum);
    if (getppid() != parent)
        raise(SIGTERM);
}
#else
int spawn_set_cpu(int cpu)
{
    (void)cpu;
    return -ENOTSUP;
}

void spawn_tie(pid_t parent) { (void)parent; }
#endif

#ifdef PROC_NO_NEW_PRIVS_CTL
int spawn_no_new_privs(void)
{
    int on = PROC_NO_NEW_PRIVS_ENABLE;
    return procctl(P_PID, 0, PROC_NO_NEW_PRIVS_CTL, &on) < 0 ? -errno : 0;
}
#else
int spawn_no_new_privs(void) { return -ENOTSUP; }
#endif

int spawn_keep_capabilities(void) { return -ENOTSUP; }

int spawn_set_capabilities(uint64_t capabilities, bool executes)
{
    (void)capabilities;
    (void)executes;
    return -ENOTSUP;
}
