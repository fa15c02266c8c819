#include "cgroup_linux.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first line of a file of a group; an empty one where there is no such file. */
static void read_line(const char *dir, const char *name, char *line, int size)
{
    char path[PATH_MAX + 64];
    line[0] = '\0';
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "re");
    if (!f)
        return;
    if (!fgets(line, size, f))
        line[0] = '\0';
    fclose(f);
}

/* A number, or infinity for "max", "-1", nothing. */
static double read_number(const char *dir, const char *name)
{
    char line[64], *end;
    read_line(dir, name, line, sizeof(line));
    double n = strtod(line, &end);
    return end == line || n < 0 ? INFINITY : n;
}

/* The value of "key value" in a file of a group, 0 where there is none. */
static double read_key(const char *dir, const char *name, const char *key)
{
    char path[PATH_MAX + 64], line[128], word[64];
    double value = 0, n;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "%63s %lf", word, &n) == 2 && strcmp(word, key) == 0)
            value = n;
    if (f)
        fclose(f);
    return value;
}

/* --- the group ----------------------------------------------------------------------------- */

/* Whether the comma-separated `list` has `word`. */
static int has_word(const char *list, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = list; at; at = strchr(at, ','), at = at ? at + 1 : NULL)
        if (strncmp(at, word, len) == 0 && (at[len] == ',' || at[len] == '\0'))
            return 1;
    return 0;
}

/* Finds the group of a controller of version 1 ("memory"), or, for an empty name, of version 2, in
 * the lines "number:controllers:path" of `self`. 0 where there is none. */
static int find_group(const char *self, const char *controller, char *group, size_t size)
{
    char line[PATH_MAX + 128];
    int found = 0;
    FILE *f = fopen(self, "re");
    while (f && !found && fgets(line, sizeof(line), f)) {
        char *list = strchr(line, ':');
        char *path = list ? strchr(list + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        if (*controller ? has_word(list + 1, controller) : list[1] == '\0') {
            snprintf(group, size, "%s", path);
            found = 1;
        }
    }
    if (f)
        fclose(f);
    return found;
}

typedef void visit(const char *dir, void *arg);

/* Calls `fn` for the group's folder and all above it. */
static void each_above(const char *mount, char *group, visit *fn, void *arg)
{
    char dir[PATH_MAX + 32];
    for (;;) {
        size_t len = strlen(group);
        if (len && group[len - 1] == '/')
            group[len - 1] = '\0';
        snprintf(dir, sizeof(dir), "%s%s", mount, group);
        fn(dir, arg);
        char *last = strrchr(group, '/');
        if (!last)
            return;
        *last = '\0';
    }
}

/* Calls `v1` or `v2` for the groups that limit a process as to `controller`. */
static void each_group(const char *self, const char *root, const char *controller, visit *v1,
                       visit *v2, void *arg)
{
    char group[PATH_MAX], mount[PATH_MAX];
    if (find_group(self, controller, group, sizeof(group))) {
        snprintf(mount, sizeof(mount), "%s/%s", root, controller);
        each_above(mount, group, v1, arg);
    }
    /* Beside version 1, version 2 is in a folder of its own, usually without controllers. */
    if (find_group(self, "", group, sizeof(group))) {
        char copy[PATH_MAX];
        memcpy(copy, group, sizeof(copy));
        snprintf(mount, sizeof(mount), "%s/unified", root);
        each_above(root, group, v2, arg);
        each_above(mount, copy, v2, arg);
    }
}

/* --- memory -------------------------------------------------------------------------------- */

static void take_memory(cgroup_memory *m, double limit, double used, double droppable)
{
    /* Version 1 writes "no limit" as the largest multiple of a page. */
    if (limit >= 0x1p62 || limit >= m->limit)
        return;
    m->limit = limit;
    m->used = isfinite(used) ? fmax(0, used - droppable) : 0;
}

static void memory_v1(const char *dir, void *arg)
{
    take_memory(arg, read_number(dir, "memory.limit_in_bytes"),
                read_number(dir, "memory.usage_in_bytes"),
                read_key(dir, "memory.stat", "total_inactive_file"));
}

static void memory_v2(const char *dir, void *arg)
{
    take_memory(arg, read_number(dir, "memory.max"), read_number(dir, "memory.current"),
                read_key(dir, "memory.stat", "inactive_file"));
}

cgroup_memory cgroup_memory_get(const char *self, const char *root)
{
    cgroup_memory m = {.limit = INFINITY};
    each_group(self, root, "memory", memory_v1, memory_v2, &m);
    return m;
}

/* --- processors ---------------------------------------------------------------------------- */

static void take_quota(double *least, double quota, double period)
{
    if (period > 0 && quota / period < *least)
        *least = quota / period;
}

static void quota_v1(const char *dir, void *arg)
{
    take_quota(arg, read_number(dir, "cpu.cfs_quota_us"), read_number(dir, "cpu.cfs_period_us"));
}

/* "max 100000" or "150000 100000". */
static void quota_v2(const char *dir, void *arg)
{
    char line[64];
    double quota, period;
    read_line(dir, "cpu.max", line, sizeof(line));
    if (sscanf(line, "%lf %lf", &quota, &period) == 2)
        take_quota(arg, quota, period);
}

double cgroup_cpu_quota(const char *self, const char *root)
{
    double least = INFINITY;
    each_group(self, root, "cpu", quota_v1, quota_v2, &least);
    return least;
}
