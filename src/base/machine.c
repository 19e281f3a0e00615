#include "base/machine.h"

#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SMALLEST_MEMORY ((size_t)4 << 30) /* assumed where the system does not say */

/* ---- small files ---------------------------------------------------------------------------------------------------- */

/* The first bytes of a file below `root` as a string; false when it cannot be read. */
static __attribute__((format(printf, 4, 5))) bool read_text(char *buf, size_t n, const char *root,
                                                            const char *fmt, ...)
{
    char path[PATH_MAX];
    const int at = snprintf(path, sizeof path, "%s", root);
    va_list ap;
    va_start(ap, fmt);
    const int len = vsnprintf(path + at, sizeof path - (size_t)at, fmt, ap);
    va_end(ap);
    if (len < 0 || (size_t)(at + len) >= sizeof path) return false;
    FILE *f = fopen(path, "re");
    if (!f) return false;
    const size_t got = fread(buf, 1, n - 1, f);
    buf[got] = '\0';
    fclose(f);
    return got > 0;
}

/* The number that begins the text; SIZE_MAX for "max" and whatever else is none. */
static size_t number_in(const char *text)
{
    char *end;
    const unsigned long long v = strtoull(text, &end, 10);
    return end == text || *text == '-' || v > SIZE_MAX ? SIZE_MAX : (size_t)v;
}

/* The number behind "name" at the beginning of a line; SIZE_MAX when there is none. */
static size_t field_of(const char *text, const char *name)
{
    const size_t n = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, name, n) && (line[n] == ' ' || line[n] == ':')) {
            line += n;
            return number_in(line + strspn(line, ": \t"));
        }
    }
    return SIZE_MAX;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* ---- control groups ------------------------------------------------------------------------------------------------- */

struct limits {
    size_t memory, memory_free; /* SIZE_MAX: none */
    size_t processors;
};

/* What a group's files say; `dir` is below the root and ends without a slash. */
static void memory_of_group(struct limits *l, const char *root, const char *dir, bool v1)
{
    char text[4096];
    size_t limit = SIZE_MAX, used = 0;
    if (read_text(text, sizeof text, root, "%s/%s", dir, v1 ? "memory.limit_in_bytes" : "memory.max"))
        limit = number_in(text);
    /* above this a process is made to wait until pages have been reclaimed */
    if (!v1 && read_text(text, sizeof text, root, "%s/memory.high", dir))
        limit = least(limit, number_in(text));
    if (limit >= SIZE_MAX / 4) return; /* version 1 writes "none" as 2^63 less a page */
    l->memory = least(l->memory, limit);
    if (!read_text(text, sizeof text, root, "%s/%s", dir, v1 ? "memory.usage_in_bytes" : "memory.current"))
        return;
    used = number_in(text);
    if (used == SIZE_MAX) return;
    if (read_text(text, sizeof text, root, "%s/memory.stat", dir)) {
        const char *const name[2] = { v1 ? "total_inactive_file" : "inactive_file",
                                      v1 ? "total_active_file" : "active_file" };
        for (int i = 0; i < 2; i++) {
            const size_t file = field_of(text, name[i]);
            if (file != SIZE_MAX) used -= least(used, file);
        }
    }
    l->memory_free = least(l->memory_free, limit - least(limit, used));
}

static void quota_of_group(struct limits *l, const char *root, const char *dir, bool v1)
{
    char text[128];
    size_t quota, period = 100000;
    if (!read_text(text, sizeof text, root, "%s/%s", dir, v1 ? "cpu.cfs_quota_us" : "cpu.max")) return;
    quota = number_in(text);
    if (v1) {
        if (read_text(text, sizeof text, root, "%s/cpu.cfs_period_us", dir)) period = number_in(text);
    } else if (strchr(text, ' ')) {
        period = number_in(strchr(text, ' ') + 1);
    }
    if (quota == SIZE_MAX || period == SIZE_MAX || period == 0) return;
    const size_t whole = quota / period + (quota % period != 0);
    l->processors = least(l->processors, whole ? whole : 1);
}

/* The group and all around it up to the mount. In a container the group's path is often one of the host that cannot be seen
 * here: then only the mount itself is there, and it is the group. */
static void ask_groups(struct limits *l, const char *root, const char *mount, const char *path, bool v1,
                       void (*ask)(struct limits *l, const char *root, const char *dir, bool v1))
{
    char dir[PATH_MAX];
    const size_t base = strlen(mount);
    const int n = snprintf(dir, sizeof dir, "%s%s", mount, path);
    if (n < 0 || (size_t)n >= sizeof dir) return;
    for (size_t end = (size_t)n;;) {
        while (end > base && dir[end - 1] == '/') end--;
        dir[end] = '\0';
        ask(l, root, dir, v1);
        if (end <= base) return;
        while (end > base && dir[end - 1] != '/') end--;
    }
}

/* Whether the comma-separated list has the word. */
static bool lists(const char *list, const char *word)
{
    const size_t n = strlen(word);
    for (; *list; list += strcspn(list, ","), list += *list == ',')
        if (strcspn(list, ",") == n && !strncmp(list, word, n)) return true;
    return false;
}

static struct limits limits_of_groups(const char *root)
{
    struct limits l = { SIZE_MAX, SIZE_MAX, SIZE_MAX };
    char text[8192], *next = text;
    if (!read_text(text, sizeof text, root, "/proc/self/cgroup")) {
        ask_groups(&l, root, "/sys/fs/cgroup", "", false, memory_of_group);
        ask_groups(&l, root, "/sys/fs/cgroup", "", false, quota_of_group);
        return l;
    }
    for (char *line; (line = strsep(&next, "\n"));) { /* 0::/path, or 4:memory,other:/path */
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path) continue;
        *path++ = '\0';
        controllers++;
        if (!*controllers) {
            ask_groups(&l, root, "/sys/fs/cgroup", path, false, memory_of_group);
            ask_groups(&l, root, "/sys/fs/cgroup", path, false, quota_of_group);
        }
        if (lists(controllers, "memory"))
            ask_groups(&l, root, "/sys/fs/cgroup/memory", path, true, memory_of_group);
        if (lists(controllers, "cpu")) ask_groups(&l, root, "/sys/fs/cgroup/cpu", path, true, quota_of_group);
    }
    return l;
}

/* ---- processors and caches ------------------------------------------------------------------------------------------ */

/* How many processors this process may run on; *first: the lowest. */
static int affinity(int *first)
{
    *first = 0;
    for (int room = 1024; room <= 1 << 20; room *= 2) { /* the kernel refuses a mask smaller than its own */
        cpu_set_t *set = CPU_ALLOC((size_t)room);
        const size_t bytes = CPU_ALLOC_SIZE((size_t)room);
        if (!set) return 1;
        const bool ok = sched_getaffinity(0, bytes, set) == 0;
        const int n = ok ? CPU_COUNT_S(bytes, set) : 0;
        for (int i = 0; n && i < room; i++)
            if (CPU_ISSET_S((size_t)i, bytes, set)) {
                *first = i;
                break;
            }
        CPU_FREE(set);
        if (ok) return n ? n : 1;
    }
    return 1;
}

/* "0-3,8-11": how many. */
static int length_of_list(const char *s)
{
    int n = 0;
    while (*s >= '0' && *s <= '9') {
        char *end;
        const long lo = strtol(s, &end, 10), hi = *end == '-' ? strtol(end + 1, &end, 10) : lo;
        if (hi >= lo && hi - lo < 1 << 20) n += (int)(hi - lo) + 1;
        s = end + (*end == ',');
    }
    return n ? n : 1;
}

static void read_caches(struct machine *m, const char *root, int cpu)
{
    char text[4096];
    for (int i = 0; i < 16; i++) {
        const char *dir = "/sys/devices/system/cpu/cpu%d/cache/index%d/%s";
        if (!read_text(text, sizeof text, root, dir, cpu, i, "level")) break;
        const size_t level = number_in(text);
        if (!read_text(text, sizeof text, root, dir, cpu, i, "type") || text[0] == 'I') continue;
        struct machine_cache *c = level == 1 ? &m->l1d : level == 2 ? &m->l2 : level == 3 ? &m->l3 : NULL;
        if (!c || !read_text(text, sizeof text, root, dir, cpu, i, "size")) continue;
        const size_t size = number_in(text);
        if (size == SIZE_MAX || size > SIZE_MAX >> 20) continue;
        c->bytes = strchr(text, 'K') ? size << 10 : strchr(text, 'M') ? size << 20 : size;
        if (read_text(text, sizeof text, root, dir, cpu, i, "shared_cpu_list"))
            c->sharers = length_of_list(text);
    }
}

/* ---- all of it ------------------------------------------------------------------------------------------------------ */

void machine_read(struct machine *m, const char *root)
{
    *m = (struct machine){ .l1d.sharers = 1, .l2.sharers = 1, .l3.sharers = 1 };
    char text[8192];
    size_t total = SIZE_MAX, available = SIZE_MAX;
    if (read_text(text, sizeof text, root, "/proc/meminfo")) {
        total = field_of(text, "MemTotal");
        available = field_of(text, "MemAvailable");
    }
    if (total == SIZE_MAX || total > SIZE_MAX >> 10) {
        const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
        m->memory = pages > 0 && size > 0 ? (size_t)pages * (size_t)size : SMALLEST_MEMORY;
    } else {
        m->memory = total << 10;
    }
    m->memory_free = available > SIZE_MAX >> 10 ? m->memory : available << 10;

    const struct limits l = limits_of_groups(root);
    m->memory = least(m->memory, l.memory);
    m->memory_free = least(least(m->memory_free, l.memory_free), m->memory);

    int first;
    m->processors = (int)least((size_t)affinity(&first), l.processors);
    read_caches(m, root, first);
    if (!m->l1d.bytes) read_caches(m, root, 0);
    if (!m->l1d.bytes) m->l1d.bytes = (size_t)32 << 10;
    if (!m->l2.bytes) m->l2.bytes = (size_t)512 << 10;
}

size_t machine_memory(void)
{
    struct machine m;
    machine_read(&m, "");
    return m.memory;
}

int machine_processors(void)
{
    struct machine m;
    machine_read(&m, "");
    return m.processors;
}
