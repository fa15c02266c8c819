/*
 * The machine as the BSDs tell of it, macOS among them: sysctl(3), and where macOS has none of
 * that, Mach. Written from the manual pages; what a kernel does not know is 0, or an error.
 */
#include <sys/param.h>
#include <sys/types.h>

#include "system.h"

#include <errno.h>
#include <math.h>
#include <net/if_dl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysctl.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

#ifdef __APPLE__
#include <mach/mach.h>
#include <malloc/malloc.h>
#endif
#if defined(__FreeBSD__) || defined(__DragonFly__)
#include <sys/user.h>
#endif
#ifdef __FreeBSD__
#include <sys/cpuset.h>
#endif

/* --- sysctl -------------------------------------------------------------------------------- */

/* A number of 4 or 8 bytes; `missing` where the kernel does not know the name. */
static double number(const char *name, double missing)
{
    union {
        uint32_t u32;
        uint64_t u64;
    } value = {.u64 = 0};
    size_t len = sizeof(value);
    if (sysctlbyname(name, &value, &len, NULL, 0) < 0)
        return missing;
    return len == sizeof(value.u32) ? (double)value.u32 : (double)value.u64;
}

static void text(const char *name, char *to, size_t size)
{
    size_t len = size - 1;
    if (sysctlbyname(name, to, &len, NULL, 0) < 0)
        len = 0;
    to[len] = '\0';
    if (!to[0])
        snprintf(to, size, "unknown");
}

/* --- processors: how each kernel counts their time ----------------------------------------- */

#ifdef __APPLE__

#define MODEL "machdep.cpu.brand_string"

static double speed_mhz(void) { return number("hw.cpufrequency", 0) / 1e6; }

static int read_times(links_cpu *cpus, int max)
{
    natural_t n = 0;
    processor_info_array_t info;
    mach_msg_type_number_t len;
    if (host_processor_info(mach_host_self(), PROCESSOR_CPU_LOAD_INFO, &n, &info, &len) !=
        KERN_SUCCESS)
        return LINKS_UNSUPPORTED;
    const processor_cpu_load_info_data_t *load = (processor_cpu_load_info_data_t *)info;
    double ms = 1e3 / (double)sysconf(_SC_CLK_TCK);
    for (int i = 0; i < (int)n && i < max; i++) {
        cpus[i].user = floor(load[i].cpu_ticks[CPU_STATE_USER] * ms);
        cpus[i].nice = floor(load[i].cpu_ticks[CPU_STATE_NICE] * ms);
        cpus[i].sys = floor(load[i].cpu_ticks[CPU_STATE_SYSTEM] * ms);
        cpus[i].idle = floor(load[i].cpu_ticks[CPU_STATE_IDLE] * ms);
    }
    vm_deallocate(mach_task_self(), (vm_address_t)info, len * sizeof(*info));
    return (int)n;
}

#else

#define MODEL "hw.model"

static double speed_mhz(void)
{
    return number("hw.clockrate", number("dev.cpu.0.freq", 0)); /* MHz, both */
}

/* How often a second the kernel looks what a processor does. */
static double stat_hz(void)
{
    struct clockinfo clock;
    size_t len = sizeof(clock);
    if (sysctlbyname("kern.clockrate", &clock, &len, NULL, 0) < 0)
        return 100;
    return clock.stathz > 0 ? clock.stathz : clock.hz;
}

/* The order of FreeBSD's <sys/resource.h>, which NetBSD and DragonFly share. */
enum { USER, NICE, SYS, INTR, IDLE, STATES };

static int read_times(links_cpu *cpus, int max)
{
    int n = (int)number("hw.ncpu", 1);
    size_t len = (size_t)n * STATES * sizeof(long);
    long *ticks = mem_zalloc(len);
    if (sysctlbyname("kern.cp_times", ticks, &len, NULL, 0) < 0) {
        mem_free(ticks);
        return LINKS_UNSUPPORTED;
    }
    double ms = 1e3 / stat_hz();
    for (int i = 0; i < n && i < max; i++) {
        const long *of = ticks + i * STATES;
        cpus[i].user = floor((double)of[USER] * ms);
        cpus[i].nice = floor((double)of[NICE] * ms);
        cpus[i].sys = floor((double)of[SYS] * ms);
        cpus[i].irq = floor((double)of[INTR] * ms);
        cpus[i].idle = floor((double)of[IDLE] * ms);
    }
    mem_free(ticks);
    return n;
}

#endif

int links_system_cpus(links_cpu *cpus, int max)
{
    if (max > 0)
        memset(cpus, 0, (size_t)max * sizeof(*cpus));
    int n = read_times(cpus, max);
    for (int i = 0; i < n && i < max; i++) {
        text(MODEL, cpus[i].model, sizeof(cpus[i].model));
        cpus[i].speed = speed_mhz();
    }
    return n;
}

#ifdef __FreeBSD__
static int affinity_count(void)
{
    cpuset_t set;
    if (cpuset_getaffinity(CPU_LEVEL_WHICH, CPU_WHICH_PID, -1, sizeof(set), &set) < 0)
        return (int)sysconf(_SC_NPROCESSORS_ONLN);
    return CPU_COUNT(&set);
}
#else
static int affinity_count(void) { return (int)sysconf(_SC_NPROCESSORS_ONLN); }
#endif

int links_system_cpu_count(void)
{
    int n = affinity_count();
    return n > 0 ? n : 1;
}

/* --- memory -------------------------------------------------------------------------------- */

#ifdef __APPLE__

static void read_memory(links_memory *m)
{
    vm_statistics64_data_t vm = {0};
    mach_msg_type_number_t len = HOST_VM_INFO64_COUNT;
    double page = (double)sysconf(_SC_PAGESIZE);
    m->total = number("hw.memsize", 0);
    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, (host_info64_t)&vm, &len) ==
        KERN_SUCCESS) {
        m->free = (double)vm.free_count * page;
        m->available = (double)(vm.free_count + vm.inactive_count) * page;
    }
    struct xsw_usage swap;
    size_t size = sizeof(swap);
    if (sysctlbyname("vm.swapusage", &swap, &size, NULL, 0) == 0) {
        m->swap_total = (double)swap.xsu_total;
        m->swap_free = (double)swap.xsu_avail;
    }
}

double system_rss(void)
{
    mach_task_basic_info_data_t info = {0};
    mach_msg_type_number_t len = MACH_TASK_BASIC_INFO_COUNT;
    if (task_info(mach_task_self(), MACH_TASK_BASIC_INFO, (task_info_t)&info, &len) != KERN_SUCCESS)
        return 0;
    return (double)info.resident_size;
}

double system_heap(void)
{
    malloc_statistics_t s;
    malloc_zone_statistics(NULL, &s);
    return (double)s.size_in_use;
}

#else

static void read_memory(links_memory *m)
{
    double page = (double)sysconf(_SC_PAGESIZE);
    m->total = number("hw.physmem64", number("hw.physmem", 0));
    m->free = number("vm.stats.vm.v_free_count", 0) * page;
    m->available = m->free + number("vm.stats.vm.v_inactive_count", 0) * page;
    m->swap_total = number("vm.swap_total", 0);
    m->swap_free = fmax(0, m->swap_total - number("vm.swap_reserved", 0));
}

#if defined(__FreeBSD__) || defined(__DragonFly__)
double system_rss(void)
{
    int mib[] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, getpid()};
    struct kinfo_proc info = {0};
    size_t len = sizeof(info);
    if (sysctl(mib, 4, &info, &len, NULL, 0) < 0)
        return 0;
#ifdef __FreeBSD__
    return (double)info.ki_rssize * (double)sysconf(_SC_PAGESIZE);
#else
    return (double)info.kp_vm_rssize * (double)sysconf(_SC_PAGESIZE);
#endif
}
#else
/* The most it ever was, in KiB: all that getrusage(2) knows. */
double system_rss(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) < 0 ? 0 : (double)usage.ru_maxrss * 1024;
}
#endif

double system_heap(void) { return -1; }

#endif

int links_system_memory(links_memory *memory)
{
    memset(memory, 0, sizeof(*memory));
    read_memory(memory);
    memory->rss = system_rss();
    memory->limit = memory->total;
    return memory->total > 0 ? 0 : LINKS_UNSUPPORTED;
}

double links_system_uptime(void)
{
    struct timeval boot, now;
    size_t len = sizeof(boot);
    if (sysctlbyname("kern.boottime", &boot, &len, NULL, 0) < 0)
        return -errno;
    gettimeofday(&now, NULL);
    return (double)(now.tv_sec - boot.tv_sec) + (double)(now.tv_usec - boot.tv_usec) / 1e6;
}

/* --- interfaces ---------------------------------------------------------------------------- */

bool system_hardware_address(const struct sockaddr *sa, unsigned char mac[static 6])
{
    const struct sockaddr_dl *link = (const struct sockaddr_dl *)sa;
    if (sa->sa_family != AF_LINK || link->sdl_alen != 6)
        return false;
    memcpy(mac, LLADDR(link), 6);
    return true;
}
