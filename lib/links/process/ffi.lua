-- The C side of the module, as src/modules/process/process.h declares it.
local ffi = require "ffi"

ffi.cdef [[
typedef struct links_child {
    int32_t pid;
    int32_t ended;
    int32_t code;
    int32_t signal;
    int32_t core;
    int32_t timed_out;
} links_child;
typedef struct links_pipe links_pipe;
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
    int32_t ipc;
    int32_t enters;
    int32_t no_new_privs;
    double capabilities;
    int32_t kill_signal;
    double timeout, kill_timeout;
} links_spawn_options;
int links_spawn(links_child **child, links_pipe **pipes, int *ipc,
                          const links_spawn_options *options, const char **step);
links_child *links_child_find(int pid);
int links_child_wait(links_child *child, double timeout_ms);
int links_child_kill(links_child *child, int signum);
void links_child_stop(links_child *child);
void links_child_free(links_child *child);
int links_pipe_read(links_pipe *pipe, size_t max, const char **data);
int links_pipe_line(links_pipe *pipe, const char **data, size_t *len);
int links_pipe_peek(links_pipe *pipe);
int links_pipe_write(links_pipe *pipe, const char *data, size_t len);
void links_pipe_close(links_pipe *pipe);
void links_pipe_free(links_pipe *pipe);
int links_signal_number(const char *name);
const char *links_signal_name(int signum);
int links_signal_ends(int signum);
int links_signal_watch(int signum, int on);
int links_signal_next(void);
int links_process_kill(int pid, int signum);
void links_ending_runner(void);
int links_ending_wait(void);
int links_ending_due(void);
void links_ending_done(void);
void links_ending_timeout(double ms);
void links_ending_exit(int signum);
void links_ending_quit(int code);
void links_ending_stay(int change);
int links_ending_reason(int *code);
int links_ending_by_signal(void);
int links_process_cwd(char *path, size_t size);
int links_process_chdir(const char *path);
int links_process_chroot(const char *path);
int links_process_umask(int mask);
int links_process_uptime(void);
int links_process_ppid(void);
void links_process_abort(void);
void links_process_memory(double *rss, double *heap);
typedef struct links_resources {
    double user, sys;
    double max_rss;
    double minor_faults, major_faults;
    double reads, writes;
    double voluntary, involuntary;
} links_resources;
void links_process_resources(links_resources *out);
int links_process_fds(void);
int links_process_setuid(double uid, const uint32_t *groups, int ngroups);
int links_process_setgid(double gid);
int links_process_no_new_privs(void);
int links_process_keep_capabilities(void);
int links_process_set_capabilities(double capabilities);
int links_process_setenv(const char *name, const char *value);
const char *links_process_getenv(const char *name);
const char *links_process_environ(int index);
const char *links_process_argument(int index);
int links_process_inherited(void);
int links_process_program(char *path, size_t size);
int links_process_set_title(const char *title);
int links_process_core_pattern(char *pattern, size_t size);
int links_process_pid_file(const char *path, int *owner);
int links_process_pid_files_aside(int aside);
int links_process_started_as(char *path, size_t size);
int links_process_start_cwd(char *path, size_t size);
typedef struct links_way links_way;
int links_way_open(links_way **way, int slot, int generation, int *child);
int links_way_next(links_way *way);
void links_way_free(links_way *way);
typedef struct links_last_request {
    int32_t state;
    int32_t under_way;
    int32_t method;
    int32_t len;
    double ms;
    char path[104];
} links_last_request;
void links_way_last(const links_way *way, links_last_request *last);
void links_cluster_sweep(int generation);
void links_cluster_trim(int slots);
void links_cluster_close(void);
void links_cluster_own(int own);
typedef struct links_handover links_handover;
int links_handover_give(links_handover **handover, int fd);
int links_handover_take(links_handover **handover);
int links_handover_wanted(void);
int links_handover_tell(links_handover *handover, int word);
int links_handover_next(links_handover *handover);
void links_handover_free(links_handover *handover);
const char *links_worker_settings(void);
int links_worker_trail(void);
int links_worker_tell(int what);
int getpid(void);
uint32_t geteuid(void);
uint32_t getegid(void);
]]

return {
    C = ffi.C,
    AGAIN = -19999,
    EOF = -20001,
    CLOSED = -20002,
    EXCEED_BUF_SIZE = -20003,
    TOO_LARGE = -20004,
    -- What stands for a descriptor.
    STDIO = { null = -1, inherit = -2, stdout = -3, pipe = -4 },
    LONGEST = 65536,
}
