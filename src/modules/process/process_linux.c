/*
 * This process as Linux knows it: /proc/self.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "unit.h"

extern char **environ;

const int process_maxrss_unit = 1024;

/* The path by its name where that is still the same file: ps(1) and pgrep(1) show the last part of
 * what was executed, and /proc/self/exe would be an "exe". */
int process_program(char *path, size_t size)
{
    struct stat running, named;
    ssize_t n = readlink("/proc/self/exe", path, size - 1);
    if (n < 0)
        return -errno;
    path[n] = '\0';
    if ((size_t)n < size - 1 && stat("/proc/self/exe", &running) == 0 && stat(path, &named) == 0 &&
        running.st_dev == named.st_dev && running.st_ino == named.st_ino)
        return 0;
    snprintf(path, size,
             "/proc/self/exe"); /* replaced or removed: what runs can still be started */
    return 0;
}

static int read_line(const char *path, char *line, size_t size)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return -errno;
    size_t n = fread(line, 1, size - 1, f);
    fclose(f);
    line[n] = '\0';
    line[strcspn(line, "\n")] = '\0';
    return 0;
}

int process_core_pattern(char *pattern, size_t size)
{
    char uses_pid[16];
    int rc = read_line("/proc/sys/kernel/core_pattern", pattern, size);
    if (rc < 0 || *pattern == '|' || strstr(pattern, "%p") ||
        read_line("/proc/sys/kernel/core_uses_pid", uses_pid, sizeof(uses_pid)) < 0)
        return rc;
    if (strcmp(uses_pid, "0") != 0 && strlen(pattern) + sizeof(".%p") <= size)
        memcpy(pattern + strlen(pattern), ".%p", sizeof(".%p"));
    return 0;
}

/* --- the title ----------------------------------------------------------------------------- */

/* ps(1) shows the memory that the kernel has put the command line into; behind it lies the
 * environment. Once that has been copied elsewhere, the title may take the room of both. */
static struct {
    char *start;
    size_t args, size; /* of the command line, and with the environment */
} title;

/* Fields 48 to 51 of /proc/self/stat: where the arguments and the environment begin and end. */
static int find_areas(unsigned long areas[4])
{
    char line[2048];
    FILE *f = fopen("/proc/self/stat", "re");
    if (!f)
        return -1;
    size_t n = fread(line, 1, sizeof(line) - 1, f);
    fclose(f);
    line[n] = '\0';
    /* The second field is a name in parentheses, with anything in it. */
    char *at = strrchr(line, ')');
    for (int field = 2; at && field < 48; field++)
        at = strchr(at + 1, ' ');
    if (!at)
        return -1;
    return sscanf(at, "%lu %lu %lu %lu", &areas[0], &areas[1], &areas[2], &areas[3]) == 4 ? 0 : -1;
}

static char *copy(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(mem_alloc(size), text, size);
}

/* Copies those variables that still lie in the area. Never given back: they are the environment. */
static void move_environment(const char *start, const char *end)
{
    for (char **at = environ; at && *at; at++)
        if (*at >= start && *at < end)
            *at = copy(*at);
}

static int find_room(void)
{
    unsigned long areas[4];
    if (title.start)
        return 0;
    /* All zero for a process that may not be traced. */
    if (find_areas(areas) < 0 || !areas[0] || areas[1] <= areas[0])
        return -1;
    title.args = title.size = areas[1] - areas[0];
    if (areas[2] == areas[1] && areas[3] > areas[2]) {
        move_environment((const char *)(uintptr_t)areas[2], (const char *)(uintptr_t)areas[3]);
        title.size = areas[3] - areas[0];
    }
    title.start = (char *)(uintptr_t)areas[0];
    return 0;
}

int process_set_title(const char *text)
{
    if (find_room() < 0)
        return LINKS_UNSUPPORTED;
    size_t len = strlen(text);
    if (len > title.size - 1)
        len = title.size - 1;
    /* Where the last byte of the arguments is not zero, the kernel shows what follows too. */
    memset(title.start, 0, title.size);
    memcpy(title.start, text, len);
    prctl(PR_SET_NAME, text); /* which takes the first 15 bytes */
    return 0;
}
