/*
 * This process as the BSDs and macOS know it. Written from the manual pages.
 */
#include "base/err.h"
#include "unit.h"

#include <sys/param.h>
#include <sys/types.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/sysctl.h>
#include <unistd.h>

#ifdef __NetBSD__
#define CORE_PATTERN "kern.defcorename"
#else
#define CORE_PATTERN "kern.corefile"
#endif

int process_core_pattern(char *pattern, size_t size)
{
    return sysctlbyname(CORE_PATTERN, pattern, &size, NULL, 0) < 0 ? -errno : 0;
}

#ifdef __APPLE__
#include <mach-o/dyld.h>

const int process_maxrss_unit = 1;

int process_program(char *path, size_t size)
{
    uint32_t room = (uint32_t)size;
    return _NSGetExecutablePath(path, &room) < 0 ? -ENAMETOOLONG : 0;
}

int process_set_title(const char *text)
{
    (void)text;
    return LINKS_UNSUPPORTED;
}
#else
const int process_maxrss_unit = 1024;

#ifdef __NetBSD__
enum { MIB1 = KERN_PROC_ARGS, MIB2 = -1, MIB3 = KERN_PROC_PATHNAME };
#else
enum { MIB1 = KERN_PROC, MIB2 = KERN_PROC_PATHNAME, MIB3 = -1 };
#endif

int process_program(char *path, size_t size)
{
    const int mib[] = {CTL_KERN, MIB1, MIB2, MIB3};
    return sysctl(mib, 4, path, &size, NULL, 0) < 0 ? -errno : 0;
}

int process_set_title(const char *text)
{
    setproctitle("-%s", text);
    return 0;
}
#endif
