/*
 * This process: its folder, mask, ids, environment, command line, consumption and pid file.
 */
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "modules/net/inherited.h"
#include "modules/net/lent.h"
#include "modules/system/system.h"
#include "notify.h"
#include "spawn.h"
#include "unit.h"

extern char **environ;

static struct {
    int argc;
    char **argv; /* copies */
    int64_t started_ns;
    int ipc; /* descriptors that our parent has given us; -1 */
    int upgrade;
    char *cwd;    /* where we were started; NULL: here */
    char *worker; /* what the master of a cluster has told us; NULL */
} self;

/* At once, so that nothing that is started can inherit it, or believe that it had been meant. */
static int take_descriptor(const char *name)
{
    struct stat st;
    char expected[16];
    const char *text = getenv(name);
    snprintf(expected, sizeof(expected), "%d", SPAWN_IPC_FD);
    bool given = text && strcmp(text, expected) == 0 && fstat(SPAWN_IPC_FD, &st) == 0 &&
                 S_ISSOCK(st.st_mode) && fcntl(SPAWN_IPC_FD, F_SETFD, FD_CLOEXEC) == 0;
    unsetenv(name);
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
            self.worker = mem_strdup(text);
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
    self.ipc = take_descriptor("LINKS_IPC");
    self.upgrade = take_descriptor("LINKS_UPGRADE");
    take_worker();
    notify_open();
    self.argc = argc;
    self.argv = mem_zalloc(((size_t)argc + 1) * sizeof(*self.argv));
    for (int i = 0; i < argc; i++)
        self.argv[i] = mem_strdup(argv[i]);
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

int links_handover_wanted(void) { return self.upgrade >= 0; }

int process_take_upgrade(void)
{
    int fd = self.upgrade;
    self.upgrade = -1;
    return fd;
}

int links_process_program(char *path, size_t size) { return process_program(path, size); }

int links_process_set_title(const char *title) { return process_set_title(title); }

int links_process_core_pattern(char *pattern, size_t size)
{
    return process_core_pattern(pattern, size);
}

int links_process_uptime(void)
{
    return (int)((links_system_hrtime64() - self.started_ns) / 1000000000);
}

/* --- how it was started ----------------------------------------------------------------------- */

static bool is_this_program(const char *path)
{
    char running[PATH_MAX];
    struct stat one, other;
    return process_program(running, sizeof(running)) == 0 && stat(running, &one) == 0 &&
           stat(path, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

static bool join(char *path, size_t size, const char *dir, size_t len, const char *name)
{
    int n = len ? snprintf(path, size, "%.*s/%s", (int)len, dir, name)
                : snprintf(path, size, "%s", name);
    return n >= 0 && (size_t)n < size;
}

/* Beginning from the folder that we were started in. */
static bool is_found(char *path, size_t size, const char *dir, size_t len, const char *name)
{
    char start[PATH_MAX], relative[PATH_MAX];
    if (!join(relative, sizeof(relative), dir, len, name))
        return false;
    if (*relative == '/')
        return join(path, size, NULL, 0, relative) && is_this_program(path);
    return links_process_start_cwd(start, sizeof(start)) == 0 &&
           join(path, size, start, strlen(start), relative) && is_this_program(path);
}

int links_process_started_as(char *path, size_t size)
{
    const char *name = links_process_argument(0), *dirs = getenv("PATH");
    if (name && strchr(name, '/') && is_found(path, size, NULL, 0, name))
        return 0;
    while (name && *name && !strchr(name, '/') && dirs) {
        size_t len = strcspn(dirs, ":");
        if (is_found(path, size, dirs, len, name))
            return 0;
        dirs = dirs[len] ? dirs + len + 1 : NULL;
    }
    return process_program(path, size);
}

/* --- folder, mask, ids --------------------------------------------------------------------- */

int links_process_cwd(char *path, size_t size) { return getcwd(path, size) ? 0 : -errno; }

/* Where it was started, which is looked up only where somebody leaves that place. */
static void note_start(void)
{
    char path[PATH_MAX];
    if (!self.cwd && getcwd(path, sizeof(path)))
        self.cwd = mem_strdup(path);
}

int links_process_start_cwd(char *path, size_t size)
{
    if (!self.cwd)
        return links_process_cwd(path, size);
    return snprintf(path, size, "%s", self.cwd) < (int)size ? 0 : -ERANGE;
}

int links_process_chdir(const char *path)
{
    note_start();
    return chdir(path) < 0 ? -errno : 0;
}

int links_process_chroot(const char *path)
{
    note_start();
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

int links_process_no_new_privs(void) { return spawn_no_new_privs(); }

int links_process_keep_capabilities(void) { return spawn_keep_capabilities(); }

int links_process_set_capabilities(double capabilities)
{
    return spawn_set_capabilities((uint64_t)capabilities, false);
}

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

/* Newer kernels of Linux tell it as the size of the folder; else its entries are counted. */
int links_process_fds(void)
{
    struct stat about;
    if (stat("/proc/self/fd", &about) == 0 && about.st_size > 0)
        return (int)about.st_size;
    DIR *folder = opendir("/dev/fd");
    if (!folder)
        return -1;
    int n = 0;
    while (readdir(folder))
        n++;
    closedir(folder);
    return n > 3 ? n - 3 : 0; /* itself, its parent, and the folder's own descriptor */
}

void links_process_resources(links_resources *out)
{
    struct rusage usage;
    *out = (links_resources){0};
    if (getrusage(RUSAGE_SELF, &usage) < 0)
        return;
    *out = (links_resources){
        .user = to_ms(usage.ru_utime),
        .sys = to_ms(usage.ru_stime),
        .max_rss = (double)usage.ru_maxrss * process_maxrss_unit,
        .minor_faults = (double)usage.ru_minflt,
        .major_faults = (double)usage.ru_majflt,
        .reads = (double)usage.ru_inblock,
        .writes = (double)usage.ru_oublock,
        .voluntary = (double)usage.ru_nvcsw,
        .involuntary = (double)usage.ru_nivcsw,
    };
}

void process_close(void)
{
    pid_files_close();
    for (int i = 0; i < self.argc; i++)
        mem_free(self.argv[i]);
    mem_free(self.argv);
    mem_free(self.cwd);
    mem_free(self.worker);
    inherited_close();
    notify_close();
    lent_close();
    links_cluster_close();
    memset(&self, 0, sizeof(self));
}
