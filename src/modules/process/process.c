/*
 * This process: its folder, mask, ids, environment, command line, consumption and pid file.
 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "modules/net/lent.h"
#include "modules/system/system.h"
#include "spawn.h"
#include "unit.h"

extern char **environ;

static struct {
    int argc;
    char **argv; /* copies */
    int64_t started_ns;
    int ipc;      /* a descriptor that our parent has given us; -1 */
    char *worker; /* what the master of a cluster has told us; NULL */
} self;

/* At once, so that nothing that is started can inherit it, or believe that it had been meant. */
static int take_ipc(void)
{
    struct stat st;
    char expected[16];
    const char *text = getenv("LINKS_IPC");
    snprintf(expected, sizeof(expected), "%d", SPAWN_IPC_FD);
    bool given = text && strcmp(text, expected) == 0 && fstat(SPAWN_IPC_FD, &st) == 0 &&
                 S_ISSOCK(st.st_mode) && fcntl(SPAWN_IPC_FD, F_SETFD, FD_CLOEXEC) == 0;
    unsetenv("LINKS_IPC");
    return given ? SPAWN_IPC_FD : -1;
}

/* A worker's standard input is its way to the master, until here. */
static void take_worker(void)
{
    struct stat st;
    const char *text = getenv("LINKS_WORKER");
    if (text && fstat(STDIN_FILENO, &st) == 0 && S_ISSOCK(st.st_mode)) {
        int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (fd >= 0 && null >= 0 && dup2(null, STDIN_FILENO) == STDIN_FILENO) {
            size_t size = strlen(text) + 1;
            self.worker = memcpy(mem_alloc(size), text, size);
            lent_open(fd);
        }
        if (null > STDERR_FILENO)
            close(null);
    }
    unsetenv("LINKS_WORKER");
}

const char *links_worker_settings(void) { return self.worker; }

void process_arguments(int argc, char **argv)
{
    self.started_ns = links_system_hrtime64();
    self.ipc = take_ipc();
    take_worker();
    self.argc = argc;
    self.argv = mem_zalloc(((size_t)argc + 1) * sizeof(*self.argv));
    for (int i = 0; i < argc; i++) {
        size_t size = strlen(argv[i]) + 1;
        self.argv[i] = memcpy(mem_alloc(size), argv[i], size);
    }
}

const char *links_process_argument(int index)
{
    return index >= 0 && index < self.argc ? self.argv[index] : NULL;
}

int links_process_inherited(void)
{
    int fd = self.ipc;
    self.ipc = -1;
    return fd;
}

int links_process_program(char *path, size_t size) { return process_program(path, size); }

int links_process_set_title(const char *title) { return process_set_title(title); }

int links_process_uptime(void)
{
    return (int)((links_system_hrtime64() - self.started_ns) / 1000000000);
}

/* --- folder, mask, ids --------------------------------------------------------------------- */

int links_process_cwd(char *path, size_t size) { return getcwd(path, size) ? 0 : -errno; }

int links_process_chdir(const char *path) { return chdir(path) < 0 ? -errno : 0; }

int links_process_chroot(const char *path)
{
    return chroot(path) < 0 || chdir("/") < 0 ? -errno : 0;
}

int links_process_umask(int mask)
{
    mode_t before = umask(mask < 0 ? 0 : (mode_t)mask);
    if (mask < 0)
        umask(before);
    return (int)before;
}

int links_process_ppid(void) { return (int)getppid(); }

/* The groups of the user that we become; giving up root while keeping its groups would be a trap.
 * Only root may set them, and nobody else gains anything by a setuid. */
int links_process_setuid(double uid, const uint32_t *groups, int ngroups)
{
    if (geteuid() == 0 && setgroups((size_t)ngroups, (const gid_t *)groups) < 0)
        return -errno;
    return setuid((uid_t)uid) < 0 ? -errno : 0;
}

int links_process_setgid(double gid) { return setgid((gid_t)gid) < 0 ? -errno : 0; }

void links_process_abort(void)
{
    fflush(stdout);
    abort();
}

/* --- environment --------------------------------------------------------------------------- */

int links_process_setenv(const char *name, const char *value)
{
    int rc = value ? setenv(name, value, 1) : unsetenv(name);
    return rc < 0 ? -errno : 0;
}

const char *links_process_getenv(const char *name) { return getenv(name); }

const char *links_process_environ(int index)
{
    if (!environ)
        return NULL;
    for (int i = 0; i < index; i++)
        if (!environ[i])
            return NULL;
    return environ[index];
}

/* --- consumption --------------------------------------------------------------------------- */

void links_process_memory(double *rss, double *heap)
{
    *rss = system_rss();
    *heap = system_heap();
}

static double to_ms(struct timeval tv)
{
    return (double)tv.tv_sec * 1e3 + (double)tv.tv_usec / 1e3;
}

void links_process_cpu(double *user, double *sys)
{
    struct rusage usage;
    *user = *sys = 0;
    if (getrusage(RUSAGE_SELF, &usage) < 0)
        return;
    *user = to_ms(usage.ru_utime);
    *sys = to_ms(usage.ru_stime);
}

/* --- the pid file -------------------------------------------------------------------------- */

typedef struct pid_file {
    struct pid_file *next;
    int fd; /* holds the lock */
    char path[];
} pid_file;

static pid_file *pid_files;

static int read_owner(int fd)
{
    char text[16] = "";
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    return n > 0 ? atoi(text) : 0;
}

/* Whether the path still names the file that is open: its former owner may have removed it between
 * our open and our lock. */
static bool is_current(int fd, const char *path)
{
    struct stat open_one, named;
    return fstat(fd, &open_one) == 0 && stat(path, &named) == 0 &&
           open_one.st_dev == named.st_dev && open_one.st_ino == named.st_ino;
}

/* Returns a descriptor that holds the lock, LINKS_LOCKED or -errno. */
static int open_locked(const char *path, int *owner)
{
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
        if (fd < 0)
            return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            int rc = errno == EWOULDBLOCK ? LINKS_LOCKED : -errno;
            *owner = read_owner(fd);
            close(fd);
            return rc;
        }
        if (is_current(fd, path))
            return fd;
        close(fd);
    }
}

static int write_pid(int fd)
{
    char text[16];
    int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) < 0)
        return -errno;
    ssize_t n = pwrite(fd, text, (size_t)len, 0);
    if (n < 0)
        return -errno;
    return n == len ? 0 : -ENOSPC;
}

/* Removed before it is unlocked: who comes next makes a new one. */
static void remove_pid_files(void)
{
    while (pid_files) {
        pid_file *file = pid_files;
        pid_files = file->next;
        if (is_current(file->fd, file->path))
            unlink(file->path);
        close(file->fd);
        mem_free(file);
    }
}

int links_process_pid_file(const char *path, int *owner)
{
    *owner = 0;
    int fd = open_locked(path, owner);
    if (fd < 0)
        return fd;
    int rc = write_pid(fd);
    if (rc < 0) {
        unlink(path);
        close(fd);
        return rc;
    }
    size_t size = strlen(path) + 1;
    pid_file *file = mem_alloc(sizeof(*file) + size);
    file->fd = fd;
    memcpy(file->path, path, size);
    file->next = pid_files;
    static bool at_exit; /* for os.exit, which does not come back to main */
    if (!at_exit)
        at_exit = atexit(remove_pid_files) == 0;
    pid_files = file;
    return 0;
}

void process_close(void)
{
    remove_pid_files();
    for (int i = 0; i < self.argc; i++)
        mem_free(self.argv[i]);
    mem_free(self.argv);
    mem_free(self.worker);
    lent_close();
    links_cluster_close();
    memset(&self, 0, sizeof(self));
}
