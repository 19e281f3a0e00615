/* split.h - shares of a job among the threads of the pool. */
#ifndef HEARTH_DEVICE_CPU_SPLIT_H
#define HEARTH_DEVICE_CPU_SPLIT_H

#include <stdint.h>

struct range {
    int64_t lo, hi; /* [lo, hi) */
};

/* Thread ith's share of n items, contiguous; shares differ by one item at most. */
static inline struct range split_range(int64_t n, int ith, int nth)
{
    return (struct range){ n * ith / nth, n * (ith + 1) / nth };
}

#endif
