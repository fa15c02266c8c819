/*
 * What the machine and its system are: processors, memory, load, users, limits, interfaces.
 * system.c asks what POSIX knows; what each system keeps in a place of its own is in
 * system_linux.c and system_bsd.c.
 */
#ifndef LINKS_MODULES_SYSTEM_SYSTEM_H
#define LINKS_MODULES_SYSTEM_SYSTEM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

typedef struct links_cpu {
    char model[64];
    double speed;                      /* MHz; 0: unknown */
    double user, nice, sys, idle, irq; /* ms since the system started */
} links_cpu;

typedef struct links_memory {
    double total, free, available; /* bytes, as are the rest */
    double swap_total, swap_free;
    double rss;   /* of this process */
    double limit; /* of its control group, or total */
} links_memory;

typedef struct links_system_names {
    char type[65], release[65], version[65], arch[65];
} links_system_names;

typedef struct links_user {
    double uid, gid;
    const char *name, *home, *shell;
    const uint32_t *groups; /* the primary one included */
    int ngroups;
} links_user;

typedef struct links_group {
    double gid;
    const char *name;
    char **members; /* ends with NULL */
} links_group;

typedef struct links_interface {
    char name[32];
    char address[46], netmask[46], mac[18];
    int32_t family;   /* 4 or 6 */
    int32_t internal; /* a loopback interface */
    int32_t prefix;   /* bits of the network's part */
    uint32_t scope;   /* of an IPv6 address of this link */
} links_interface;

/* --- for Lua: lib/links/system.lua --------------------------------------------------------- */

/* Fills in up to `max` processors that are on line, and returns how many there are, or -errno. */
LINKS_API int links_system_cpus(links_cpu *cpus, int max);

/* Returns 0 or -errno. */
LINKS_API int links_system_memory(links_memory *memory);

/* The load of the last 1, 5 and 15 minutes. 0, or LINKS_UNSUPPORTED. */
LINKS_API int links_system_load(double load[3]);

/* A monotonic clock in nanoseconds, the same for all processes. */
LINKS_API int64_t links_system_hrtime64(void);
LINKS_API double links_system_hrtime(void);

/* Milliseconds since 1970: read now, or once for each turn of the loop. */
LINKS_API double links_system_wall_ms(void);
LINKS_API double links_system_turn_ms(void);

/* Seconds since the system started; negative: -errno. */
LINKS_API double links_system_uptime(void);

/* The processors that this process may keep busy: its affinity, and its control group's quota
 * rounded up. 1 at least. */
LINKS_API int links_system_cpu_count(void);

LINKS_API int links_system_page_size(void);
LINKS_API void links_system_names_get(links_system_names *names);

/* 0, or -errno. */
LINKS_API int links_system_hostname(char *name, int size);

/* A user by `name`, or, where that is NULL, by `uid`. What `user` points to is valid until the next
 * of these calls. 0, LINKS_NOT_FOUND or -errno. */
LINKS_API int links_system_user(links_user *user, const char *name, double uid);
LINKS_API int links_system_group(links_group *group, const char *name, double gid);

/* The limit with this index: its name, NULL beyond the last one. */
LINKS_API const char *links_system_limit_name(int index);

/* Gets or sets it; infinity is no limit. 0 or -errno. */
LINKS_API int links_system_limit_get(int index, double *soft, double *hard);
LINKS_API int links_system_limit_set(int index, double soft, double hard);

/* As links_system_cpus, for the addresses of the interfaces. */
LINKS_API int links_system_interfaces(links_interface *interfaces, int max);

/* --- one per system ------------------------------------------------------------------------ */

/* The 6 bytes of the hardware address that `sa` holds; false for an address of another kind. */
bool system_hardware_address(const struct sockaddr *sa, unsigned char mac[static 6]);

/* The resident set of this process in bytes, and the heap in use, -1 where that is not known. */
double system_rss(void);
double system_heap(void);

#endif
