/* memory.c - device memory that is the host's. */
#include <string.h>
#include <sys/mman.h>

#include "device/cpu/cpu_internal.h"

void *cpu_alloc(struct device *d, size_t bytes)
{
    (void)d;
    return mem_aligned(bytes, 1, false);
}

void cpu_free(struct device *d, void *p)
{
    (void)d;
    mem_free(p);
}

void *cpu_reserve(struct device *d, size_t bytes)
{
    (void)d;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void cpu_unreserve(struct device *d, void *p, size_t bytes)
{
    (void)d;
    munmap(p, bytes);
}

void cpu_lend(struct device *d, void *p, size_t bytes)
{
    (void)d;
    mem_lend(p, bytes);
}

void cpu_copy(struct device *d, void *to, const void *from, size_t bytes)
{
    (void)d;
    memcpy(to, from, bytes);
}

float *cpu_read(struct device *d, const float *from, size_t n)
{
    (void)d, (void)n;
    return (float *)from;
}
