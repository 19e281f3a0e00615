/* edge.h - for tests: memory that ends at an unreadable page, so that one element too far crashes. */
#ifndef HEARTH_DEVICE_CPU_EDGE_H
#define HEARTH_DEVICE_CPU_EDGE_H

#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "base/rng.h"

#define EDGE_PAGE ((size_t)4096)

struct edge {
    void *p; /* bytes bytes; aligned only as their number is */
    size_t bytes;
};

static inline struct edge edge_alloc(size_t bytes)
{
    const size_t whole = (bytes + EDGE_PAGE - 1) / EDGE_PAGE * EDGE_PAGE;
    unsigned char *m =
        mmap(NULL, whole + EDGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED || mprotect(m + whole, EDGE_PAGE, PROT_NONE) != 0) return (struct edge){ 0 };
    return (struct edge){ m + whole - bytes, bytes };
}

static inline void edge_free(struct edge e)
{
    const size_t whole = (e.bytes + EDGE_PAGE - 1) / EDGE_PAGE * EDGE_PAGE;
    munmap((unsigned char *)e.p - (whole - e.bytes), whole + EDGE_PAGE);
}

/* n floats in [-1, 1). */
static inline struct edge edge_floats(size_t n, uint64_t seed)
{
    struct edge e = edge_alloc(n * sizeof(float));
    float *f = e.p;
    for (size_t i = 0; i < n; i++) f[i] = (float)(2.0 * philox_uniform(seed, 0, i) - 1.0);
    return e;
}

#endif
