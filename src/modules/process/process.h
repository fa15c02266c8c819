/*
 * Processes as Lua sees them, through the FFI: lib/links/process/ffi.lua has these lines too.
 *
 * Children are in a table of their own, by process id, from their start until some time after
 * their end: so a status waits for who asks for it, and no child stays a zombie because nobody
 * does.
 */
#ifndef LINKS_MODULES_PROCESS_PROCESS_H
#define LINKS_MODULES_PROCESS_PROCESS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* --- children: child.c --------------------------------------------------------------------- */

enum {
    CHILD_MAX_ENDED = 1024,      /* statuses kept for who may ask; the oldest go first */
    PIPE_BUFFER_SIZE = 64 * 1024 /* of one pipe; the longest line */
};

typedef struct links_child {
    int32_t pid;
    int32_t ended;
    int32_t code;      /* of its exit; -1 where it died of a signal, or nobody knows */
    int32_t signal;    /* 0, or what it died of */
    int32_t core;      /* and left a core file */
    int32_t timed_out; /* its time was up: it was sent the signal for that */
} links_child;

typedef struct links_pipe links_pipe;

/* For stdio, besides a descriptor. */
enum {
    LINKS_STDIO_NULL = -1,
    LINKS_STDIO_INHERIT = -2,
    LINKS_STDIO_STDOUT = -3,
    LINKS_STDIO_PIPE = -4,
};

typedef struct links_spawn_options {
    const char *file, *path;
    const char **argv, **env;
    const char *cwd, *readable;
    int32_t stdio[3];
    int32_t set_ids;
    uint32_t uid, gid;
    const uint32_t *groups;
    int32_t ngroups;
    int32_t cpu;
    int32_t detached, tied;
    int32_t ipc;    /* a way for messages: one end of a socket pair is the child's descriptor 3 */
    int32_t enters; /* as of spawn_options */
    int32_t no_new_privs;
    double capabilities; /* bit n: it keeps number n of capabilities(7); with set_ids */
    int32_t kill_signal;
    double timeout, kill_timeout;
} links_spawn_options;

/* Starts a program. The caller owns the handle, the pipes (NULL where there is none), and the other
 * end of the way for messages (-1). 0, or -errno and the name of the step that failed. */
LINKS_API int links_spawn(links_child **child, links_pipe **pipes, int *ipc,
                          const links_spawn_options *options, const char **step);

/* The child with that id, known or not, if it is one of ours: a handle to own. NULL: it is not. */
LINKS_API links_child *links_child_find(int pid);

/* Waits for its end, `timeout_ms` at most (0: as long as it takes). 0: it has ended. May park. */
LINKS_API int links_child_wait(links_child *child, double timeout_ms);

/* Sends a signal, but never to a process that only has the same id. 0 or -errno. */
LINKS_API int links_child_kill(links_child *child, int signum);

/* Asks it to end: its kill signal, and after its kill timeout SIGKILL. Once is enough. */
LINKS_API void links_child_stop(links_child *child);

/* Gives the handle back. The child goes on, and is still reaped. */
LINKS_API void links_child_free(links_child *child);

/* --- pipes: pipe.c ------------------------------------------------------------------------- */

/* Reads 1 to `max` bytes, valid until the next call: their number, LINKS_EOF, -EBUSY where another
 * task waits to read, -errno. May park. */
LINKS_API int links_pipe_read(links_pipe *pipe, size_t max, const char **data);

/* Reads a line with its end: its length; LINKS_EOF with the rest in `data` and `len`, which may be
 * nothing; LINKS_EXCEED_BUF_SIZE for one longer than the buffer, which stays there. May park. */
LINKS_API int links_pipe_line(links_pipe *pipe, const char **data, size_t *len);

/* What can be had without waiting: a count, 0 where there is nothing now, LINKS_EOF. */
LINKS_API int links_pipe_peek(links_pipe *pipe);

/* Writes up to `len` bytes: how many went, -EPIPE, ... May park. */
LINKS_API int links_pipe_write(links_pipe *pipe, const char *data, size_t len);

/* Closes it; who waits gets LINKS_CLOSED. Twice is harmless. */
LINKS_API void links_pipe_close(links_pipe *pipe);
LINKS_API void links_pipe_free(links_pipe *pipe);

/* --- signals: signals.c -------------------------------------------------------------------- */

/* The number of "SIGTERM", 0 for a name nobody knows; the name of a number, NULL likewise. */
LINKS_API int links_signal_number(const char *name);
LINKS_API const char *links_signal_name(int signum);

/* Whether a signal that nothing catches ends a process. */
LINKS_API int links_signal_ends(int signum);

/* Begins or ends to catch a signal. 0, or -EINVAL for one that cannot be caught. */
LINKS_API int links_signal_watch(int signum, int on);

/* The next signal that was caught. Parks without keeping the process alive. */
LINKS_API int links_signal_next(void);

/* kill(2). 0 or -errno. */
LINKS_API int links_process_kill(int pid, int signum);

/* --- the end: ending.c --------------------------------------------------------------------- */

/* There is a task that carries out what the program wants done at its end. It calls
 * links_ending_wait, which is 1 when that time has come, and parks without keeping the process
 * alive. */
LINKS_API void links_ending_runner(void);
LINKS_API int links_ending_wait(void);

/* The process is ending. */
LINKS_API int links_ending_due(void);

/* That task has done it. */
LINKS_API void links_ending_done(void);

/* How long it may take. */
LINKS_API void links_ending_timeout(double ms);

/* Ends the process, by a signal or with a code; the first of these calls counts. */
LINKS_API void links_ending_exit(int signum);
LINKS_API void links_ending_quit(int code);

/* Adds to the number of tasks that will not return, and need not be waited for at the end. */
LINKS_API void links_ending_stay(int change);

/* Why the process ends: a signal's number, -1 for links_ending_quit, 0 where nothing is left to do;
 * in `code` what its exit code will be. */
LINKS_API int links_ending_reason(int *code);

/* Whether a signal that was sent has asked for the end, and not this program. */
LINKS_API int links_ending_by_signal(void);

/* --- this process: process.c --------------------------------------------------------------- */

/* The working directory into `path`. 0 or -errno, -ERANGE where it is longer. */
LINKS_API int links_process_cwd(char *path, size_t size);
LINKS_API int links_process_chdir(const char *path);
LINKS_API int links_process_chroot(const char *path); /* and enters it */
LINKS_API int links_process_umask(int mask);          /* -1: only look */
LINKS_API int links_process_uptime(void);
LINKS_API int links_process_ppid(void);
LINKS_API void links_process_abort(void);

/* Bytes; -1: unknown. */
LINKS_API void links_process_memory(double *rss, double *heap);

/* What the system counts of this process, as getrusage(2) has it; times in milliseconds. */
typedef struct links_resources {
    double user, sys;
    double max_rss; /* bytes */
    double minor_faults, major_faults;
    double reads, writes;          /* of blocks, from and to a device */
    double voluntary, involuntary; /* switches to another process */
} links_resources;
LINKS_API void links_process_resources(links_resources *out);

/* How many descriptors are open; -1 where the system does not tell. */
LINKS_API int links_process_fds(void);

LINKS_API int links_process_setuid(double uid, const uint32_t *groups, int ngroups);
LINKS_API int links_process_setgid(double gid);

/* No program that is executed from now on gets more rights than this process has. 0 or -errno. */
LINKS_API int links_process_no_new_privs(void);

/* Around a change of the user, from root: these capabilities are kept, bit n for number n, and no
 * others; 0 or -errno, -ENOTSUP where the system has no such thing. */
LINKS_API int links_process_keep_capabilities(void);
LINKS_API int links_process_set_capabilities(double capabilities);

LINKS_API int links_process_setenv(const char *name, const char *value); /* NULL: unset */
LINKS_API const char *links_process_getenv(const char *name);
LINKS_API const char *links_process_environ(int index); /* "NAME=value"; NULL beyond the last */

/* The argument of the command line with this index, 0 for the program; NULL beyond the last. */
LINKS_API const char *links_process_argument(int index);

/* Our end of the way for messages that our parent has made; the caller's from then on. -1: there is
 * none, or somebody has it already. */
LINKS_API int links_process_inherited(void);

/* The path of this program. 0 or -errno. */
LINKS_API int links_process_program(char *path, size_t size);

/* What ps(1) shows. 0, LINKS_UNSUPPORTED. */
LINKS_API int links_process_set_title(const char *title);

/* The pattern of the names of core files, as core(5) of the system describes it. 0 or -errno. */
LINKS_API int links_process_core_pattern(char *pattern, size_t size);

/* Locks the file for as long as the process lives, writes our id, and removes it at our end. 0,
 * LINKS_LOCKED with the id of who has it (0: unknown), or -errno. */
LINKS_API int links_process_pid_file(const char *path, int *owner);

/* Moves all pid files to their names with ".old" behind, for another process to write them, and
 * back. 0 or -errno. */
LINKS_API int links_process_pid_files_aside(int aside);

/* The path under which this program was found when it was started, of its own name or in PATH: what
 * lies there later may be another one. 0 or -errno. */
LINKS_API int links_process_started_as(char *path, size_t size);

/* The working directory that this process was started in. 0 or -errno. */
LINKS_API int links_process_start_cwd(char *path, size_t size);

/* --- clusters: cluster.c ------------------------------------------------------------------- */

typedef struct links_way links_way;

/* A way from the master to the worker that is to be started in a slot: *child is the worker's end,
 * to be its standard input. `generation` counts the reloads. 0 or -errno. */
LINKS_API int links_way_open(links_way **way, int slot, int generation, int *child);

/* The next number that the worker has told by links_worker_tell, from 1 on; LINKS_EOF where it has
 * gone. Parks without keeping the process alive. */
LINKS_API int links_way_next(links_way *way);
LINKS_API void links_way_free(links_way *way);

enum { LINKS_LAST_NONE, LINKS_LAST_RUNNING, LINKS_LAST_WAITING, LINKS_LAST_ANSWERED };

/* What is known of the request that a worker served last: the one whose task ran, or the latest
 * that was under way, or that was answered; see http/trail.h. */
typedef struct links_last_request {
    int32_t state; /* LINKS_LAST_... */
    int32_t under_way;
    int32_t method;
    int32_t len; /* of the path; a longer one is cut */
    double ms;   /* since it was begun */
    char path[104];
} links_last_request;

/* The same of the worker at the other end, which has died. */
LINKS_API void links_way_last(const links_way *way, links_last_request *last);

/* Closes the sockets that nobody has asked for since that generation began. */
LINKS_API void links_cluster_sweep(int generation);

/* Closes those of the slots from that one on. */
LINKS_API void links_cluster_trim(int slots);

/* Closes all of them. */
LINKS_API void links_cluster_close(void);

/* The files of Unix sockets become this master's, to be removed at the end, or somebody else's. */
LINKS_API void links_cluster_own(int own);

/* --- another program in a master's place: handover.c ------------------------------------------ */

typedef struct links_handover links_handover;

/* Gives all sockets to the process at the other end of that socket, which is the handover's from
 * then on: in the background. 0 or -errno. */
LINKS_API int links_handover_give(links_handover **handover, int fd);

/* Takes them, where another master has started this process for that; blocks until all have come,
 * 10 s at most. 0, LINKS_NOT_FOUND where nobody has, -EPROTO for what another version has made,
 * LINKS_EOF where the other has gone. The handover is there for all but the second of these. */
LINKS_API int links_handover_take(links_handover **handover);

/* Another master has started this process, and its sockets have not been taken. */
LINKS_API int links_handover_wanted(void);

/* Says a word, from 1 to 127; lib/links/process/upgrade.lua has them. 0, LINKS_EOF, -errno. */
LINKS_API int links_handover_tell(links_handover *handover, int word);

/* The next word of the other; LINKS_EOF where it has gone, -errno where the sockets could not be
 * given. Parks without keeping the process alive. */
LINKS_API int links_handover_next(links_handover *handover);
LINKS_API void links_handover_free(links_handover *handover);

/* What the master has told this worker at its start; NULL: it is none. */
LINKS_API const char *links_worker_settings(void);

/* Begins to note what requests this worker serves. 0 or a failure. */
LINKS_API int links_worker_trail(void);

/* Tells the master. 0, or -ENOTCONN and the like. */
LINKS_API int links_worker_tell(int what);

#endif
