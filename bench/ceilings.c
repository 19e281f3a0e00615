/* bench/ceilings.c - what this machine can do at best: one JSON object for one thread and one for all.
 *
 *     ceilings [threads]      0 or nothing: one for each core */
#include <stdio.h>
#include <stdlib.h>

#include "machine.h"

static bool measure(int n_threads)
{
    struct err e = { 0 };
    struct pool *pool;
    if (!pool_new(&pool, n_threads, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        return false;
    }
    double bandwidth = machine_read_bandwidth(pool, (size_t)1 << 30, 5);
    struct machine_peaks p = machine_peaks_measure(pool);
    printf("{\"threads\": %d, \"read_gb_s\": %.1f, \"int8_gops\": %.0f, \"bf16_gflops\": %.0f, "
           "\"f32_gflops\": %.0f, "
           "\"amx_int8_gops\": %.0f, \"amx_bf16_gflops\": %.0f}\n",
           pool_threads(pool), bandwidth / 1e9, p.int8 / 1e9, p.bf16 / 1e9, p.f32 / 1e9, p.int8_amx / 1e9,
           p.bf16_amx / 1e9);
    fflush(stdout);
    pool_free(pool);
    return true;
}

int main(int argc, char **argv)
{
    int n = argc > 1 ? atoi(argv[1]) : 0;
    return n == 1 ? !measure(1) : !(measure(1) && measure(n));
}
