/*
 * Starts a program in a new process. Everything is prepared here; between vfork and exec the child
 * makes system calls only, for it runs on our memory. What fails in it comes back through a pipe,
 * so a program that is not there, or may not be run, is an error of the call.
 *
 * The child begins as a process should: no caught signal, an empty signal mask, no descriptor but
 * 0, 1 and 2 (and SPAWN_IPC_FD, where it is to have one), and the limits that we were started with.
 */
#ifndef LINKS_MODULES_PROCESS_SPAWN_H
#define LINKS_MODULES_PROCESS_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Instead of a descriptor for the child's 0, 1 or 2. */
enum {
    SPAWN_NULL = -1,    /* /dev/null */
    SPAWN_INHERIT = -2, /* ours of the same number, or /dev/null where that is closed */
    SPAWN_STDOUT = -3,  /* as for 1; for 2 only */
};

/* Where a child finds its end of the way for messages. */
enum { SPAWN_IPC_FD = 3 };

/* What was being done when it failed. */
enum {
    SPAWN_PIPE,
    SPAWN_FORK,
    SPAWN_SETSID,
    SPAWN_AFFINITY,
    SPAWN_STDIO,
    SPAWN_SETGROUPS,
    SPAWN_SETGID,
    SPAWN_SETUID,
    SPAWN_CHROOT,
    SPAWN_CHDIR,
    SPAWN_OPEN,
    SPAWN_NO_NEW_PRIVS,
    SPAWN_CAPABILITIES,
    SPAWN_EXEC,
    SPAWN_STEPS,
};

typedef struct spawn_options {
    const char *file;  /* looked for in `path` where it has no slash */
    const char *path;  /* directories with colons between; NULL: the system's usual */
    char *const *argv; /* ends with NULL, as does */
    char *const *env;
    const char *cwd;      /* NULL: ours */
    const char *readable; /* a file that the child must be able to read; NULL: none */
    int fds[3];
    int ipc;      /* becomes the child's SPAWN_IPC_FD; -1: it has none */
    bool set_ids; /* gives up our user and groups for: */
    uid_t uid;
    gid_t gid;
    const gid_t *groups;
    int ngroups;
    int cpu;       /* the only processor to run on; -1: any */
    bool detached; /* leader of a session of its own */
    bool tied;     /* gets SIGTERM when this process dies, however it does */
    bool enters;   /* links itself, which calls spawn_enter: it takes on its user, folder and root
                      there, and the spawn has failed where that fails */
    uint64_t capabilities; /* bit n: it keeps capabilities(7) number n of ours; with set_ids */
    bool no_new_privs;     /* nor does anything that it executes ever get more rights */
} spawn_options;

/* Raises this process's own limits of descriptors and of the stack. */
void spawn_raise_limits(void);

/* Returns the child's id, or -errno with the step that failed. Blocks for as long as an exec
 * takes. */
pid_t spawn(const spawn_options *options, int *step);

/* In a new process of links, first of all: enters the root that its parent has meant it for, if
 * any, and becomes the user that it is to be. A program could not be found and linked in there any
 * more. What it is told by is taken out of the environment. Does not return where something
 * fails. */
void spawn_enter(void);

/* A pipe whose ends no exec passes on. 0 or -errno. */
int spawn_pipe(int ends[2]);

/* --- one per system, for the child: system calls only; 0 or -errno -------------------------- */

/* Gives up the rights of our user; where that fails, `step` says in what. */
int spawn_set_ids(const spawn_options *o, int *step);
int spawn_set_cpu(int cpu);
int spawn_no_new_privs(void); /* -ENOTSUP where the system has no such thing; so for the next two */

/* Before the user is changed, and after: to keep these rights of root, and no others. `executes`:
 * also through the next exec, of what is no setuid program. */
int spawn_keep_capabilities(void);
int spawn_set_capabilities(uint64_t capabilities, bool executes);

/* SIGTERM when `parent` dies; where the system has no such thing, nothing. */
void spawn_tie(pid_t parent);

/* Closes `first` and all above it. */
void spawn_close_from(int first);

#endif
