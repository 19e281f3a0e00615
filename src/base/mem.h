/* mem.h - checked sizes, arenas and aligned blocks.
 *
 * Sizes that come from a file or a client are multiplied only through mem_mul() or arena_alloc().
 * Threads  an arena has one owner at a time. */
#ifndef HEARTH_BASE_MEM_H
#define HEARTH_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* a*b or a+b into *out; false when it does not fit a size_t (then *out is untouched). */
static inline bool mem_mul(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}
static inline bool mem_add(size_t a, size_t b, size_t *out)
{
    size_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

/* 64-byte aligned block of n*size bytes (2 MiB aligned and advised as huge pages from 4 MiB up), zeroed on
 * request. NULL on overflow or when there is no memory. Free with mem_free(). */
void *mem_aligned(size_t n, size_t size, bool zero);
void mem_free(void *p);
/* The content of a large piece from mem_aligned() is no longer needed: until it is written again the system may take its pages, and
 * if it did not the next use is faster than a new piece. */
void mem_lend(void *p, size_t bytes);

/* Bump allocator over one block. Nothing in it is freed alone: whoever made the arena frees it. In
 * address-checker builds every piece is followed by a red zone. */
struct arena {
    unsigned char *base; /* 64-byte aligned */
    size_t used, cap;    /* bytes */
};

bool arena_init(struct arena *a, size_t cap, struct err *e);
void arena_free(struct arena *a);
/* Over a block of the caller's, 64-byte aligned, which arena_leave() gives back to him. The arena does not touch the block. */
void arena_over(struct arena *a, void *block, size_t cap);
void arena_leave(struct arena *a);

/* 64-byte aligned. NULL when n*size overflows or the arena is full. Not zeroed. */
void *arena_alloc(struct arena *a, size_t n, size_t size);
#define arena_new(a, type, n) ((type *)arena_alloc((a), (n), sizeof(type)))

/* Bytes that arena_alloc(n, size) takes, alignment and red zone included: for sizing an arena beforehand. */
size_t arena_cost(size_t n, size_t size);

#endif
