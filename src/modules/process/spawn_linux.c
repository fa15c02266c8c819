/*
 * The parts of a spawn that Linux does its own way. System calls as they are: the C library's
 * setuid and its kin change every thread of the process, and after vfork those are the parent's.
 */
#define _GNU_SOURCE /* pipe2, sched_setaffinity */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "spawn.h"

/* The calls of 32-bit machines with ids of 16 bits have a successor. */
#ifdef SYS_setresuid32
enum { SET_UID = SYS_setresuid32, SET_GID = SYS_setresgid32, SET_GROUPS = SYS_setgroups32 };
#else
enum { SET_UID = SYS_setresuid, SET_GID = SYS_setresgid, SET_GROUPS = SYS_setgroups };
#endif

int spawn_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0; }

int spawn_set_ids(const spawn_options *o, int *step)
{
    *step = SPAWN_SETGROUPS;
    if (geteuid() == 0 && syscall(SET_GROUPS, (size_t)o->ngroups, o->groups) < 0)
        return -errno;
    *step = SPAWN_SETGID;
    if (syscall(SET_GID, o->gid, o->gid, o->gid) < 0)
        return -errno;
    *step = SPAWN_SETUID;
    if (syscall(SET_UID, o->uid, o->uid, o->uid) < 0)
        return -errno;
    return 0;
}

int spawn_set_cpu(int cpu)
{
    cpu_set_t set;
    if (cpu >= CPU_SETSIZE)
        return -EINVAL;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

int spawn_keep_capabilities(void) { return prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 ? -errno : 0; }

/* Of this thread alone: the others have lost all of them with the change of the user. */
int spawn_set_capabilities(uint64_t capabilities, bool executes)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    for (int i = 0; i < 2; i++) {
        uint32_t half = (uint32_t)(capabilities >> 32 * i);
        data[i] = (struct __user_cap_data_struct){
            .effective = half, .permitted = half, .inheritable = executes ? half : 0};
    }
    if (syscall(SYS_capset, &head, data) < 0)
        return -errno;
    for (unsigned long n = 0; executes && n < 64; n++)
        if (capabilities >> n & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, n, 0, 0) < 0)
            return -errno;
    if (!executes && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return -errno;
    return prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0 ? -errno : 0;
}

int spawn_no_new_privs(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0; }

void spawn_tie(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) /* it has died before that */
        raise(SIGTERM);
}

/* --- descriptors --------------------------------------------------------------------------- */

typedef struct entry {
    uint64_t inode;
    int64_t offset;
    uint16_t size;
    uint8_t type;
    char name[];
} entry;

/* -1 for "." and "..". */
static int number_of(const char *name)
{
    int n = 0;
    if (*name < '0' || *name > '9')
        return -1;
    for (; *name >= '0' && *name <= '9'; name++)
        n = n * 10 + (*name - '0');
    return n;
}

/* Kernels before 5.9: what /proc lists, again until nothing is left, for a list that is being
 * changed may leave something out. opendir would allocate. */
static void close_listed(int first)
{
    _Alignas(entry) char buffer[4096];
    int dir = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC), closed;
    if (dir < 0)
        return;
    do {
        closed = 0;
        lseek(dir, 0, SEEK_SET);
        for (long n; (n = syscall(SYS_getdents64, dir, buffer, sizeof(buffer))) > 0;) {
            for (long at = 0; at < n;) {
                const entry *e = (const entry *)(buffer + at);
                int fd = number_of(e->name);
                if (fd >= first && fd != dir && close(fd) == 0)
                    closed++;
                at += e->size;
            }
        }
    } while (closed);
    close(dir);
}

#ifdef SYS_close_range
void spawn_close_from(int first)
{
    if (syscall(SYS_close_range, (unsigned)first, UINT_MAX, 0) < 0)
        close_listed(first);
}
#else
void spawn_close_from(int first) { close_listed(first); }
#endif
