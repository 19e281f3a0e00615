#include "base/mem.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif
#ifdef HAVE_ASAN
#include <sanitizer/asan_interface.h>
#define RED_ZONE 64
#define POISON(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#else
#define RED_ZONE 0
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#endif

#define ALIGN ((size_t)64)
#define HUGE_PAGE ((size_t)2 << 20)

void *mem_aligned(size_t n, size_t size, bool zero)
{
    size_t bytes;
    if (!mem_mul(n, size, &bytes) || bytes > SIZE_MAX - HUGE_PAGE) return NULL;
    if (bytes == 0) bytes = 1;
    size_t align = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : ALIGN;
    size_t rounded = (bytes + align - 1) / align * align;
    void *p = aligned_alloc(align, rounded);
    if (!p) return NULL;
    if (align == HUGE_PAGE)
        (void)madvise(p, rounded, MADV_HUGEPAGE); /* advice only: failing costs TLB misses */
    if (zero) memset(p, 0, bytes);
    return p;
}

void mem_free(void *p) { free(p); }

void mem_lend(void *p, size_t bytes)
{
    if (bytes >= 2 * HUGE_PAGE) (void)madvise(p, bytes / HUGE_PAGE * HUGE_PAGE, MADV_FREE);
}

size_t arena_cost(size_t n, size_t size)
{
    size_t bytes;
    if (!mem_mul(n, size, &bytes) || bytes > SIZE_MAX - 2 * ALIGN - RED_ZONE) return SIZE_MAX;
    return (bytes + ALIGN - 1) / ALIGN * ALIGN + RED_ZONE;
}

bool arena_init(struct arena *a, size_t cap, struct err *e)
{
    void *p = mem_aligned(cap, 1, false);
    if (!p) return err_set(e, ERR_NOMEM, "cannot reserve %zu bytes of working memory", cap);
    arena_over(a, p, cap);
    return true;
}

void arena_free(struct arena *a)
{
    void *p = a->base;
    arena_leave(a);
    mem_free(p);
}

void arena_over(struct arena *a, void *block, size_t cap)
{
    *a = (struct arena){ .base = block, .cap = cap };
    POISON(a->base, a->cap);
}

void arena_leave(struct arena *a)
{
    if (a->base) UNPOISON(a->base, a->cap);
    *a = (struct arena){ 0 };
}

void *arena_alloc(struct arena *a, size_t n, size_t size)
{
    size_t cost = arena_cost(n, size);
    if (cost == SIZE_MAX || cost > a->cap - a->used) return NULL;
    unsigned char *p = a->base + a->used;
    a->used += cost;
    UNPOISON(p, n * size);
    return p;
}
