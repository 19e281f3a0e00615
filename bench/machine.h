/* machine.h - what this machine can do at best, for judging kernels against it. */
#ifndef HEARTH_BENCH_MACHINE_H
#define HEARTH_BENCH_MACHINE_H

#include <stddef.h>

#include "base/pool.h"

/* Now, for differences. With one thread the thread's own processor time: right on a busy machine too. */
double machine_seconds(struct pool *pool);

/* Bytes a second read from memory by all threads of the pool, best of `tries` passes over `bytes` (at least several
 * times the last-level cache, or the answer is the cache's). */
double machine_read_bandwidth(struct pool *pool, size_t bytes, int tries);

/* Operations a second (a multiplication and an addition are two) of the widest int8 dot product, of bf16 and of f32
 * that the machine has and HEARTH_ISA lets be used; 0 when there is none. amx: with tiles. Without VNNI a product of bytes is three
 * instructions here; kernels for narrow weights, which add several before they widen, can come out above that. */
struct machine_peaks {
    double int8, bf16, f32, int8_amx, bf16_amx;
};
struct machine_peaks machine_peaks_measure(struct pool *pool);

#endif
