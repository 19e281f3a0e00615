/* machine_test.c - memory, processors and caches as the files of a made-up machine give them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/machine.h"

#define KIB ((size_t)1024)
#define GIB ((size_t)1 << 30)

static char root[64];

/* root/path with this text, and the folders on the way. */
static void put(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; *p; p++)
        if (*p == '/') {
            *p = '\0';
            (void)mkdir(full, 0700);
            *p = '/';
        }
    FILE *f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static int fresh(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/hearth-machine-XXXXXX");
    if (!mkdtemp(root)) return -1;
    put("/proc/meminfo",
        "MemTotal:       16777216 kB\nMemFree:          1000 kB\nMemAvailable:    8388608 kB\n");
    return 0;
}

static int remove_all(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command);
}

static struct machine read_it(void)
{
    struct machine m;
    machine_read(&m, root);
    return m;
}

static void test_no_limits(void **state)
{
    (void)state;
    const struct machine m = read_it();
    assert_int_equal(m.memory, 16 * GIB);
    assert_int_equal(m.memory_free, 8 * GIB);
    assert_true(m.processors >= 1);
    assert_int_equal(m.l1d.bytes, 32 * KIB); /* nothing says otherwise */
    assert_int_equal(m.l2.bytes, 512 * KIB);
    assert_int_equal(m.l3.bytes, 0);
    assert_int_equal(m.l3.sharers, 1);
}

/* A limit of the group, of one around it, and "max". */
static void test_groups(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/slice/service\n");
    put("/sys/fs/cgroup/slice/service/memory.max", "max\n");
    put("/sys/fs/cgroup/slice/service/cpu.max", "max 100000\n");
    struct machine m = read_it();
    assert_int_equal(m.memory, 16 * GIB);
    const int all = m.processors;

    put("/sys/fs/cgroup/slice/memory.max", "4294967296\n");
    put("/sys/fs/cgroup/slice/memory.current", "3221225472\n");
    put("/sys/fs/cgroup/slice/memory.stat",
        "anon 1073741824\nfile 2147483648\ninactive_file 1073741824\nactive_file 536870912\n");
    m = read_it();
    assert_int_equal(m.memory, 4 * GIB);
    assert_int_equal(m.memory_free, 4 * GIB - (3 * GIB - GIB - GIB / 2));

    put("/sys/fs/cgroup/slice/service/memory.high", "2147483648\n");
    m = read_it();
    assert_int_equal(m.memory, 2 * GIB);
    assert_true(m.memory_free <= m.memory);

    put("/sys/fs/cgroup/slice/cpu.max", "50000 100000\n");
    assert_int_equal(read_it().processors, 1);
    put("/sys/fs/cgroup/slice/cpu.max", "150000 100000\n");
    assert_int_equal(read_it().processors, all < 2 ? all : 2);
    put("/sys/fs/cgroup/slice/service/cpu.max", "1000 100000\n");
    assert_int_equal(read_it().processors, 1);
}

/* The path is the host's; what is mounted here is the group itself. */
static void test_group_of_a_container(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "0::/system.slice/docker-0123.scope\n");
    put("/sys/fs/cgroup/memory.max", "1073741824\n");
    put("/sys/fs/cgroup/cpu.max", "100000 100000\n");
    const struct machine m = read_it();
    assert_int_equal(m.memory, GIB);
    assert_int_equal(m.processors, 1);
}

static void test_groups_version_1(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "7:cpuset:/elsewhere\n4:memory:/box\n2:cpu,cpuacct:/box\n0::/\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "2147483648\n");
    put("/sys/fs/cgroup/memory/box/memory.usage_in_bytes", "1073741824\n");
    put("/sys/fs/cgroup/memory/box/memory.stat", "inactive_file 5\ntotal_inactive_file 1048576\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "20000\n");
    put("/sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "20000\n");
    const struct machine m = read_it();
    assert_int_equal(m.memory, 2 * GIB);
    assert_int_equal(m.memory_free, GIB + 1048576);
    assert_int_equal(m.processors, 1);
}

static void test_caches(void **state)
{
    (void)state;
    static const char *const index[4][4] = { { "1", "Data", "48K", "0" },
                                             { "1", "Instruction", "64K", "0" },
                                             { "2", "Unified", "2M", "0,8" },
                                             { "3", "Unified", "36864K", "0-11,16-19" } };
    static const char *const file[4] = { "level", "type", "size", "shared_cpu_list" };
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 4; k++) {
            char path[128], text[32];
            snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", i, file[k]);
            snprintf(text, sizeof text, "%s\n", index[i][k]);
            put(path, text);
        }
    const struct machine m = read_it();
    assert_int_equal(m.l1d.bytes, 48 * KIB);
    assert_int_equal(m.l1d.sharers, 1);
    assert_int_equal(m.l2.bytes, 2048 * KIB);
    assert_int_equal(m.l2.sharers, 2);
    assert_int_equal(m.l3.bytes, 36864 * KIB);
    assert_int_equal(m.l3.sharers, 16);
}

/* Rubbish is no limit, and nothing crashes on it. */
static void test_rubbish(void **state)
{
    (void)state;
    put("/proc/self/cgroup", "\n:\n0:\nmemory\n0::\n3:memory");
    put("/sys/fs/cgroup/memory.max", "many\n");
    put("/sys/fs/cgroup/cpu.max", "7 0\n");
    put("/sys/devices/system/cpu/cpu0/cache/index0/level", "x\n");
    const struct machine m = read_it();
    assert_int_equal(m.memory, 16 * GIB);
    assert_true(m.processors >= 1);
    assert_int_equal(m.l2.bytes, 512 * KIB);
}

static void test_this_machine(void **state)
{
    (void)state;
    struct machine m;
    machine_read(&m, "");
    assert_true(m.memory >= (size_t)16 << 20);
    assert_true(m.memory_free <= m.memory);
    assert_int_equal(machine_memory(), m.memory);
    assert_int_equal(machine_processors(), m.processors);
    assert_true(m.processors <= sysconf(_SC_NPROCESSORS_CONF));
    assert_true(m.l1d.bytes >= 4 * KIB && m.l1d.bytes <= 1024 * KIB);
    assert_true(m.l2.bytes >= 64 * KIB);
}

#define FAKE(f) cmocka_unit_test_setup_teardown(f, fresh, remove_all)

int main(void)
{
    const struct CMUnitTest tests[] = { FAKE(test_no_limits),
                                        FAKE(test_groups),
                                        FAKE(test_group_of_a_container),
                                        FAKE(test_groups_version_1),
                                        FAKE(test_caches),
                                        FAKE(test_rubbish),
                                        cmocka_unit_test(test_this_machine) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
