/* split.h - shares of a job among the threads of the pool. */
#ifndef HEARTH_DEVICE_CPU_SPLIT_H
#define HEARTH_DEVICE_CPU_SPLIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct range {
    int64_t lo, hi; /* [lo, hi) */
};

/* Thread ith's share of n items, contiguous; shares differ by one item at most. */
static inline struct range split_range(int64_t n, int ith, int nth)
{
    return (struct range){ n * ith / nth, n * (ith + 1) / nth };
}

/* Shares that are taken step by step, so that a thread which is done with its own helps those that are not. What a thread takes of
 * its own follows one another: weights are streamed from memory as one piece.
 * How far a thread's share is done, on a cache line of its own: */
struct share {
    _Alignas(64) atomic_llong next;
};

/* Before the threads start: nothing of n items is taken. */
static inline void share_reset(struct share *s, int64_t n, int nth)
{
    for (int i = 0; i < nth; i++)
        atomic_store_explicit(&s[i].next, split_range(n, i, nth).lo, memory_order_relaxed);
}

/* The next `step` items or fewer, for thread ith; false when all are taken. *helped: whose share it is at, counted from its own;
 * 0 at first. */
static inline bool share_take(struct share *s, int64_t n, int64_t step, int ith, int nth, int *helped,
                              struct range *r)
{
    for (; *helped < nth; ++*helped) {
        const int whose = (ith + *helped) % nth;
        const int64_t end = split_range(n, whose, nth).hi;
        r->lo = atomic_fetch_add_explicit(&s[whose].next, step, memory_order_relaxed);
        r->hi = r->lo + step < end ? r->lo + step : end;
        if (r->lo < end) return true;
    }
    return false;
}

#endif
