/*
 * What the control groups of a process allow it, version 1 and 2. A group is limited by those
 * above it too, so the least of all counts. Where the process's own group cannot be seen, as in a
 * container of version 1, what stands at the mount is the container's.
 */
#ifndef LINKS_MODULES_SYSTEM_CGROUP_LINUX_H
#define LINKS_MODULES_SYSTEM_CGROUP_LINUX_H

#define CGROUP_SELF "/proc/self/cgroup" /* which groups a process is in */
#define CGROUP_ROOT "/sys/fs/cgroup"    /* where they are mounted */

typedef struct cgroup_memory {
    double limit; /* bytes; infinity: none */
    double used;  /* by the group with that limit, without what it can drop at once */
} cgroup_memory;

cgroup_memory cgroup_memory_get(const char *self, const char *root);

/* Processors' worth of time, such as 1.5; infinity: no quota. */
double cgroup_cpu_quota(const char *self, const char *root);

#endif
