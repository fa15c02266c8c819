/* Control groups, by folders that look like them. */
#ifdef __linux__

#include <criterion/criterion.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "modules/system/cgroup_linux.h"

static char root[] = "/tmp/links-cgroup-XXXXXX";
static char self[64];

static void put(const char *path, const char *text)
{
    char command[512];
    snprintf(command, sizeof(command), "mkdir -p \"$(dirname %s/%s)\"", root, path);
    cr_assert_eq(system(command), 0);
    snprintf(command, sizeof(command), "%s/%s", root, path);
    FILE *f = fopen(command, "w");
    cr_assert_not_null(f);
    fputs(text, f);
    fclose(f);
}

static void setup(void)
{
    cr_assert_not_null(mkdtemp(root));
    snprintf(self, sizeof(self), "%s/self", root);
}

static void teardown(void)
{
    char command[64];
    snprintf(command, sizeof(command), "rm -r %s", root);
    cr_assert_eq(system(command), 0);
}

TestSuite(cgroup, .init = setup, .fini = teardown);

Test(cgroup, without_any_there_is_no_limit)
{
    cr_assert(isinf(cgroup_cpu_quota("/no/such/file", root)));
    cr_assert(isinf(cgroup_memory_get("/no/such/file", root).limit));
    put("self", "");
    cr_assert(isinf(cgroup_cpu_quota(self, root)));
    put("self", "junk\n::\n0::/\n");
    cr_assert(isinf(cgroup_cpu_quota(self, root)));
    cr_assert(isinf(cgroup_memory_get(self, root).limit));
}

Test(cgroup, version_2_takes_the_least_of_all_above)
{
    put("self", "0::/a/b/c\n");
    put("a/memory.max", "1000000\n");
    put("a/memory.current", "400000\n");
    put("a/memory.stat", "anon 300000\ninactive_file 50000\nactive_file 1\n");
    put("a/b/memory.max", "max\n");
    put("a/b/c/memory.max", "2000000\n");
    put("a/b/c/memory.current", "100\n");
    put("a/cpu.max", "max 100000\n");
    put("a/b/cpu.max", "150000 100000\n");
    put("a/b/c/cpu.max", "400000 100000\n");
    cgroup_memory m = cgroup_memory_get(self, root);
    cr_assert_float_eq(m.limit, 1000000, 0.5);
    cr_assert_float_eq(m.used, 350000, 0.5);
    cr_assert_float_eq(cgroup_cpu_quota(self, root), 1.5, 0.001);
}

Test(cgroup, version_2_of_a_container_is_at_the_mount)
{
    put("self", "0::/\n");
    put("memory.max", "4096\n");
    put("cpu.max", "50000 100000\n");
    cr_assert_float_eq(cgroup_memory_get(self, root).limit, 4096, 0.5);
    cr_assert_float_eq(cgroup_cpu_quota(self, root), 0.5, 0.001);
}

Test(cgroup, version_1_has_a_folder_for_each_controller)
{
    put("self", "9:name=systemd:/\n4:memory:/box\n3:cpuset:/\n2:cpu,cpuacct:/box\n0::/\n");
    put("memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("memory/box/memory.limit_in_bytes", "8192\n");
    put("memory/box/memory.usage_in_bytes", "5000\n");
    put("memory/box/memory.stat", "inactive_file 1\ntotal_inactive_file 1000\n");
    put("cpu/box/cpu.cfs_quota_us", "250000\n");
    put("cpu/box/cpu.cfs_period_us", "100000\n");
    put("cpu/cpu.cfs_quota_us", "-1\n");
    put("cpu/cpu.cfs_period_us", "100000\n");
    cgroup_memory m = cgroup_memory_get(self, root);
    cr_assert_float_eq(m.limit, 8192, 0.5);
    cr_assert_float_eq(m.used, 4000, 0.5);
    cr_assert_float_eq(cgroup_cpu_quota(self, root), 2.5, 0.001);
}

Test(cgroup, version_1_without_a_limit_has_none)
{
    put("self", "4:memory:/\n2:cpu:/\n");
    put("memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("cpu/cpu.cfs_quota_us", "-1\n");
    put("cpu/cpu.cfs_period_us", "100000\n");
    cr_assert(isinf(cgroup_memory_get(self, root).limit));
    cr_assert(isinf(cgroup_cpu_quota(self, root)));
}

Test(cgroup, version_1_of_a_container_is_at_the_mount)
{
    put("self", "4:memory:/docker/0123456789\n");
    put("memory/memory.limit_in_bytes", "12288\n");
    cr_assert_float_eq(cgroup_memory_get(self, root).limit, 12288, 0.5);
}

Test(cgroup, beside_version_1_version_2_is_in_a_folder_of_its_own)
{
    put("self", "4:memory:/\n0::/x\n");
    put("memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("unified/x/memory.max", "777\n");
    cr_assert_float_eq(cgroup_memory_get(self, root).limit, 777, 0.5);
}

Test(cgroup, junk_is_no_limit)
{
    put("self", "0::/a\n");
    put("a/memory.max", "");
    put("a/cpu.max", "lots\n");
    put("cpu.max", "100000 0\n");
    cr_assert(isinf(cgroup_memory_get(self, root).limit));
    cr_assert(isinf(cgroup_cpu_quota(self, root)));
}

#endif
