/* lm.c - speed of a language model through the engine's door, as JSON lines.
 *
 *     build/release/bench/lm MODEL [threads] [repetitions] [prompt] [new]
 *
 * load       seconds to a loaded model, resident memory after it
 * prompt     tokens a second over so many prompt tokens (512)
 * behind     when another number of them is given: tokens a second over the new tokens that follow, and nothing else is measured
 * generate   tokens a second over 128 new tokens after a short prompt, and the share of the memory bandwidth measured just
 *            before that reading all weights once a token means
 * streams    n sequences of 128 (new) tokens after 100-token prompts at once: tokens a second in total */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "lm/lm_bench.h"
#include "machine.h"

static long resident_kb(void)
{
    FILE *f = fopen("/proc/self/status", "r");
    char line[200];
    long kb = 0;
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %ld", &kb) == 1) break;
    if (f) fclose(f);
    return kb;
}

int main(int argc, char **argv)
{
    struct err e = { 0 };
    struct pool *pool;
    struct device *dev;
    struct lm_bench b = { .repetitions = argc > 3 ? atoi(argv[3]) : 3 };
    if (argc < 2) {
        fprintf(stderr, "usage: %s MODEL [threads] [repetitions] [prompt] [new]\n", argv[0]);
        return 2;
    }
    const int n_prompt = argc > 4 ? atoi(argv[4]) : 512, n_new = argc > 5 ? atoi(argv[5]) : 128;
    const bool only_long = n_prompt != 512;
    const struct lm_options o = { .n_ctx = n_prompt > 512 ? n_prompt + 512 : 1024, .max_batch = 16 };
    if (!pool_new(&pool, argc > 2 ? atoi(argv[2]) : 0, &e) || !device_cpu_open(&dev, pool, ~0u, &e))
        goto fail;
    const double t = clock_seconds();
    if (!lm_load(&b.lm, argv[1], &o, dev, &e)) goto fail;
    const double weights = (double)lm_info(b.lm)->weight_bytes;
    printf("{\"test\":\"load\",\"model\":\"%s\",\"device\":\"%s\",\"seconds\":%.3f,\"resident_mb\":%.1f,"
           "\"weights_mb\":%.1f}\n",
           lm_info(b.lm)->name, device_name(dev), clock_seconds() - t, (double)resident_kb() / 1024,
           weights / 1048576);
    fflush(stdout);

    double rate, behind;
    if (only_long ? !lm_bench_long(&b, n_prompt, n_new, &rate, &behind, &e)
                  : !lm_bench_prompt(&b, n_prompt, &rate, &e))
        goto fail;
    printf("{\"test\":\"prompt\",\"n\":%d,\"tokens_per_s\":%.1f}\n", n_prompt, rate);
    fflush(stdout);
    if (only_long) {
        printf("{\"test\":\"behind\",\"n\":%d,\"tokens_per_s\":%.1f}\n", n_prompt, behind);
        goto done;
    }
    pool_acquire(pool, POOL_PREFILL);
    const double bandwidth = machine_read_bandwidth(pool, (size_t)256 << 20, 3);
    pool_release(pool);
    if (!lm_bench_generate(&b, 128, &rate, &e)) goto fail;
    printf("{\"test\":\"generate\",\"tokens_per_s\":%.1f,\"bandwidth_share\":%.2f}\n", rate,
           rate * weights / bandwidth);
    fflush(stdout);
    static const int streams[] = { 1, 8, 16 };
    for (size_t s = 0; s < sizeof streams / sizeof *streams; s++) {
        if (!lm_bench_streams(&b, streams[s], 100, n_new, &rate, &e)) goto fail;
        printf("{\"test\":\"streams\",\"n\":%d,\"tokens_per_s\":%.1f}\n", streams[s], rate);
        fflush(stdout);
    }
done:
    lm_free(b.lm);
    device_close(dev);
    pool_free(pool);
    return 0;
fail:
    fprintf(stderr, "%s\n", e.msg);
    return 1;
}
