/*
 * The machine as Linux tells of it: /proc, and the control groups (cgroup.h).
 */
#define _GNU_SOURCE /* sched_getaffinity */
#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <netpacket/packet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "cgroup_linux.h"

enum { KIB = 1024 };

/* --- processors ---------------------------------------------------------------------------- */

static double ticks_to_ms(unsigned long long ticks)
{
    static long per_s;
    if (!per_s)
        per_s = sysconf(_SC_CLK_TCK);
    return floor((double)ticks * 1e3 / (double)per_s);
}

/* A line "cpu3 user nice system idle iowait irq softirq ..."; -1 for another line. */
static int parse_times(const char *line, links_cpu *cpu)
{
    int number;
    unsigned long long user, nice, sys, idle, wait, irq, soft;
    if (strncmp(line, "cpu", 3) != 0 || line[3] < '0' || line[3] > '9') /* "cpu " is their sum */
        return -1;
    if (sscanf(line, "cpu%d %llu %llu %llu %llu %llu %llu %llu", &number, &user, &nice, &sys, &idle,
               &wait, &irq, &soft) < 8)
        return -1;
    cpu->user = ticks_to_ms(user);
    cpu->nice = ticks_to_ms(nice);
    cpu->sys = ticks_to_ms(sys);
    cpu->idle = ticks_to_ms(idle);
    cpu->irq = ticks_to_ms(irq + soft);
    return number;
}

/* Not every architecture has it in /proc/cpuinfo. */
static double nominal_mhz(int number)
{
    char path[96];
    double khz = 0;
    snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/cpufreq/cpuinfo_max_freq", number);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    if (fscanf(f, "%lf", &khz) != 1)
        khz = 0;
    fclose(f);
    return khz / 1000;
}

/* The value of "key : value", without its line's end; NULL for another key. */
static char *value_of(char *line, const char *key)
{
    size_t len = strlen(key);
    if (strncmp(line, key, len) != 0)
        return NULL;
    char *at = line + len + strspn(line + len, " \t");
    if (*at++ != ':')
        return NULL;
    at += strspn(at, " \t");
    at[strcspn(at, "\n")] = '\0';
    return at;
}

/* /proc/cpuinfo lists the same processors as /proc/stat, by "processor : number". */
static void add_models(links_cpu *cpus, const int *numbers, int n)
{
    char line[512], *value;
    links_cpu *at = NULL;
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof(line), f)) {
        if ((value = value_of(line, "processor"))) {
            at = NULL;
            for (int i = 0; i < n; i++)
                if (numbers[i] == atoi(value))
                    at = &cpus[i];
        } else if (at && (value = value_of(line, "model name"))) {
            snprintf(at->model, sizeof(at->model), "%s", value);
        } else if (at && (value = value_of(line, "cpu MHz"))) {
            at->speed = strtod(value, NULL);
        }
    }
    if (f)
        fclose(f);
    for (int i = 0; i < n; i++) {
        if (!cpus[i].model[0])
            snprintf(cpus[i].model, sizeof(cpus[i].model), "unknown");
        if (cpus[i].speed == 0)
            cpus[i].speed = nominal_mhz(numbers[i]);
    }
}

int links_system_cpus(links_cpu *cpus, int max)
{
    char line[512];
    int n = 0;
    FILE *f = fopen("/proc/stat", "re");
    if (!f)
        return -errno;
    int *numbers = mem_alloc((size_t)(max > 0 ? max : 1) * sizeof(int));
    while (fgets(line, sizeof(line), f)) {
        links_cpu cpu = {.speed = 0};
        int number = parse_times(line, &cpu);
        if (number < 0)
            continue;
        if (n < max) {
            cpus[n] = cpu;
            numbers[n] = number;
        }
        n++;
    }
    fclose(f);
    if (max > 0)
        add_models(cpus, numbers, n < max ? n : max);
    mem_free(numbers);
    return n;
}

static int affinity_count(void)
{
    for (int cpus = 1024; cpus <= 1024 * 64; cpus *= 4) {
        cpu_set_t *set = CPU_ALLOC(cpus);
        size_t size = CPU_ALLOC_SIZE(cpus);
        if (!set)
            return 1;
        int rc = sched_getaffinity(0, size, set), error = errno;
        int n = rc == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (rc == 0)
            return n;
        if (error !=
            EINVAL) /* EINVAL: the kernel knows more processors than the set has room for */
            break;
    }
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

int links_system_cpu_count(void)
{
    int n = affinity_count();
    double quota = ceil(cgroup_cpu_quota(CGROUP_SELF, CGROUP_ROOT));
    if (quota < n)
        n = (int)quota;
    return n > 0 ? n : 1;
}

/* --- memory, time -------------------------------------------------------------------------- */

double system_rss(void)
{
    unsigned long long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
double system_heap(void)
{
    struct mallinfo2 info = mallinfo2();
    double used = (double)info.uordblks + (double)info.hblkhd;
    return used > 0 ? used : -1; /* an allocator in the place of glibc's does not count for it */
}
#else
double system_heap(void) { return -1; }
#endif

static void read_meminfo(FILE *f, links_memory *m)
{
    static const char *const keys[] = {"MemTotal", "MemFree", "MemAvailable", "SwapTotal",
                                       "SwapFree"};
    double *const values[] = {&m->total, &m->free, &m->available, &m->swap_total, &m->swap_free};
    char line[256];
    while (fgets(line, sizeof(line), f)) {
        for (int i = 0; i < 5; i++) {
            const char *value = value_of(line, keys[i]);
            if (value)
                *values[i] = strtod(value, NULL) * KIB;
        }
    }
}

int links_system_memory(links_memory *memory)
{
    FILE *f = fopen("/proc/meminfo", "re");
    if (!f)
        return -errno;
    *memory = (links_memory){.available = -1};
    read_meminfo(f, memory);
    fclose(f);
    if (memory->available < 0) /* Linux before 3.14 */
        memory->available = memory->free;
    memory->rss = system_rss();
    memory->limit = memory->total;

    cgroup_memory group = cgroup_memory_get(CGROUP_SELF, CGROUP_ROOT);
    if (group.limit < memory->limit) {
        double left = fmax(0, group.limit - group.used);
        memory->limit = group.limit;
        memory->available = fmin(memory->available, left);
    }
    return 0;
}

double links_system_uptime(void)
{
    double up;
    FILE *f = fopen("/proc/uptime", "re");
    if (!f)
        return -errno;
    int n = fscanf(f, "%lf", &up);
    fclose(f);
    return n == 1 ? up : -EIO;
}

/* --- interfaces ---------------------------------------------------------------------------- */

bool system_hardware_address(const struct sockaddr *sa, unsigned char mac[static 6])
{
    const struct sockaddr_ll *link = (const struct sockaddr_ll *)sa;
    if (sa->sa_family != AF_PACKET || link->sll_halen != 6)
        return false;
    memcpy(mac, link->sll_addr, 6);
    return true;
}
