/*
 * What POSIX and its kin know of the machine: names, clocks, users, limits, interfaces.
 */
#include "system.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <ifaddrs.h>
#include <math.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "lua/sched.h"

/* --- names, clocks ------------------------------------------------------------------------- */

static void copy(char *to, size_t size, const char *from) { snprintf(to, size, "%s", from); }

void links_system_names_get(links_system_names *names)
{
    struct utsname u;
    memset(names, 0, sizeof(*names));
    if (uname(&u) < 0)
        return;
    copy(names->type, sizeof(names->type), u.sysname);
    copy(names->release, sizeof(names->release), u.release);
    copy(names->version, sizeof(names->version), u.version);
    copy(names->arch, sizeof(names->arch), u.machine);
}

int links_system_hostname(char *name, int size)
{
    if (gethostname(name, (size_t)size) < 0)
        return -errno;
    name[size - 1] = '\0';
    return 0;
}

int links_system_page_size(void) { return (int)sysconf(_SC_PAGESIZE); }

int links_system_load(double load[3]) { return getloadavg(load, 3) == 3 ? 0 : LINKS_UNSUPPORTED; }

int64_t links_system_hrtime64(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

double links_system_hrtime(void) { return (double)links_system_hrtime64(); }

double links_system_wall_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (double)ts.tv_sec * 1e3 + (double)(ts.tv_nsec / 1000000);
}

double links_system_turn_ms(void)
{
    static uint64_t turn;
    static double ms;
    uint64_t now = ev_now_ns(sched_loop());
    if (now != turn || ms == 0) {
        turn = now;
        ms = links_system_wall_ms();
    }
    return ms;
}

/* --- users and groups ---------------------------------------------------------------------- */

enum { ID_BUFFER_FIRST = 4096, ID_BUFFER_MAX = 1 << 20 };

/* What the last answer points to. */
static struct {
    char *text;
    size_t size;
    struct passwd passwd;
    struct group group;
    uint32_t *groups;
} ids;

static void grow_ids(size_t size)
{
    ids.text = mem_realloc(ids.text, size);
    ids.size = size;
}

static bool valid_id(double id) { return id >= 0 && id < (double)UINT32_MAX && id == floor(id); }

/* The functions below say that there is nobody of that name in several ways. */
static int not_found(int error)
{
    switch (error) {
    case 0:
    case ENOENT:
    case ESRCH:
    case EBADF:
    case EPERM:
        return LINKS_NOT_FOUND;
    default:
        return -error;
    }
}

static int find_passwd(const char *name, double uid, struct passwd **found)
{
    int error;
    if (!ids.text)
        grow_ids(ID_BUFFER_FIRST);
    for (;;) {
        if (name)
            error = getpwnam_r(name, &ids.passwd, ids.text, ids.size, found);
        else
            error = getpwuid_r((uid_t)uid, &ids.passwd, ids.text, ids.size, found);
        if (error != ERANGE || ids.size >= ID_BUFFER_MAX)
            return error;
        grow_ids(ids.size * 2);
    }
}

#ifdef __APPLE__
typedef int group_id; /* of getgrouplist */
#else
typedef gid_t group_id;
#endif

static int list_groups(const struct passwd *pw)
{
    int n = 32, max;
    group_id *list = NULL;
    do {
        max = n;
        list = mem_realloc(list, (size_t)max * sizeof(*list));
        /* The one of glibc says how many there are; others leave it to us to guess. */
        if (getgrouplist(pw->pw_name, (group_id)pw->pw_gid, list, &n) >= 0)
            break;
        if (n <= max)
            n = max * 2;
    } while (max < 65536);
    ids.groups = mem_realloc(ids.groups, (size_t)n * sizeof(*ids.groups));
    for (int i = 0; i < n; i++)
        ids.groups[i] = (uint32_t)list[i];
    mem_free(list);
    return n;
}

int links_system_user(links_user *user, const char *name, double uid)
{
    struct passwd *pw = NULL;
    if (!name && !valid_id(uid))
        return LINKS_NOT_FOUND;
    int error = find_passwd(name, uid, &pw);
    if (!pw)
        return not_found(error);
    *user = (links_user){
        .uid = pw->pw_uid,
        .gid = pw->pw_gid,
        .name = pw->pw_name,
        .home = pw->pw_dir,
        .shell = pw->pw_shell,
        .ngroups = list_groups(pw),
    };
    user->groups = ids.groups;
    return 0;
}

int links_system_group(links_group *group, const char *name, double gid)
{
    struct group *gr = NULL;
    int error;
    if (!name && !valid_id(gid))
        return LINKS_NOT_FOUND;
    if (!ids.text)
        grow_ids(ID_BUFFER_FIRST);
    for (;;) {
        if (name)
            error = getgrnam_r(name, &ids.group, ids.text, ids.size, &gr);
        else
            error = getgrgid_r((gid_t)gid, &ids.group, ids.text, ids.size, &gr);
        if (error != ERANGE || ids.size >= ID_BUFFER_MAX)
            break;
        grow_ids(ids.size * 2);
    }
    if (!gr)
        return not_found(error);
    *group = (links_group){.gid = gr->gr_gid, .name = gr->gr_name, .members = gr->gr_mem};
    return 0;
}

/* --- limits -------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int resource;
} limits[] = {
    {"core", RLIMIT_CORE},
    {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},
    {"fsize", RLIMIT_FSIZE},
    {"nofile", RLIMIT_NOFILE},
    {"stack", RLIMIT_STACK},
#ifdef RLIMIT_AS
    {"as", RLIMIT_AS},
#endif
#ifdef RLIMIT_MEMLOCK
    {"memlock", RLIMIT_MEMLOCK},
#endif
#ifdef RLIMIT_NPROC
    {"nproc", RLIMIT_NPROC},
#endif
#ifdef RLIMIT_RSS
    {"rss", RLIMIT_RSS},
#endif
#ifdef RLIMIT_LOCKS
    {"locks", RLIMIT_LOCKS},
#endif
#ifdef RLIMIT_MSGQUEUE
    {"msgqueue", RLIMIT_MSGQUEUE},
#endif
#ifdef RLIMIT_NICE
    {"nice", RLIMIT_NICE},
#endif
#ifdef RLIMIT_RTPRIO
    {"rtprio", RLIMIT_RTPRIO},
#endif
#ifdef RLIMIT_RTTIME
    {"rttime", RLIMIT_RTTIME},
#endif
#ifdef RLIMIT_SIGPENDING
    {"sigpending", RLIMIT_SIGPENDING},
#endif
#ifdef RLIMIT_SBSIZE
    {"sbsize", RLIMIT_SBSIZE},
#endif
#ifdef RLIMIT_SWAP
    {"swap", RLIMIT_SWAP},
#endif
};

enum { LIMITS = (int)(sizeof(limits) / sizeof(*limits)) };

const char *links_system_limit_name(int index)
{
    return index >= 0 && index < LIMITS ? limits[index].name : NULL;
}

static double from_limit(rlim_t value) { return value == RLIM_INFINITY ? INFINITY : (double)value; }

static rlim_t to_limit(double value)
{
    return value < 18446744073709549568.0 ? (rlim_t)value : RLIM_INFINITY;
}

int links_system_limit_get(int index, double *soft, double *hard)
{
    struct rlimit r;
    if (!links_system_limit_name(index))
        return -EINVAL;
    if (getrlimit(limits[index].resource, &r) < 0)
        return -errno;
    *soft = from_limit(r.rlim_cur);
    *hard = from_limit(r.rlim_max);
    return 0;
}

int links_system_limit_set(int index, double soft, double hard)
{
    if (!links_system_limit_name(index) || !(soft >= 0) || !(hard >= 0))
        return -EINVAL;
    struct rlimit r = {.rlim_cur = to_limit(soft), .rlim_max = to_limit(hard)};
    return setrlimit(limits[index].resource, &r) < 0 ? -errno : 0;
}

/* --- interfaces ---------------------------------------------------------------------------- */

/* The bytes of an address or a mask; NULL for one that is neither IPv4 nor IPv6. A mask may come
 * without its family. */
static const unsigned char *address_bytes(const struct sockaddr *sa, int family)
{
    if (!sa)
        return NULL;
    if (family == AF_INET)
        return (const unsigned char *)&((const struct sockaddr_in *)sa)->sin_addr;
    return (const unsigned char *)&((const struct sockaddr_in6 *)sa)->sin6_addr;
}

static int count_bits(const unsigned char *bytes, int len)
{
    int bits = 0;
    for (int i = 0; i < len; i++)
        bits += __builtin_popcount(bytes[i]);
    return bits;
}

static void find_mac(links_interface *to, const struct ifaddrs *all)
{
    unsigned char mac[6] = {0};
    for (const struct ifaddrs *at = all; at; at = at->ifa_next)
        if (at->ifa_addr && strcmp(at->ifa_name, to->name) == 0 &&
            system_hardware_address(at->ifa_addr, mac))
            break;
    snprintf(to->mac, sizeof(to->mac), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
             mac[3], mac[4], mac[5]);
}

static void describe(links_interface *to, const struct ifaddrs *from, const struct ifaddrs *all)
{
    int family = from->ifa_addr->sa_family;
    memset(to, 0, sizeof(*to));
    copy(to->name, sizeof(to->name), from->ifa_name);
    to->family = family == AF_INET ? 4 : 6;
    to->internal = (from->ifa_flags & IFF_LOOPBACK) != 0;
    inet_ntop(family, address_bytes(from->ifa_addr, family), to->address, sizeof(to->address));
    const unsigned char *mask = address_bytes(from->ifa_netmask, family);
    if (mask) {
        inet_ntop(family, mask, to->netmask, sizeof(to->netmask));
        to->prefix = count_bits(mask, family == AF_INET ? 4 : 16);
    }
    if (family == AF_INET6)
        to->scope = ((const struct sockaddr_in6 *)from->ifa_addr)->sin6_scope_id;
    find_mac(to, all);
}

int links_system_interfaces(links_interface *interfaces, int max)
{
    struct ifaddrs *all;
    int n = 0;
    if (getifaddrs(&all) < 0)
        return -errno;
    for (const struct ifaddrs *at = all; at; at = at->ifa_next) {
        if (!at->ifa_addr || !(at->ifa_flags & IFF_UP))
            continue;
        if (at->ifa_addr->sa_family != AF_INET && at->ifa_addr->sa_family != AF_INET6)
            continue;
        if (n < max)
            describe(&interfaces[n], at, all);
        n++;
    }
    freeifaddrs(all);
    return n;
}
