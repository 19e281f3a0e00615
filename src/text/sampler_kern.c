#define SAMPLER_WIDTH 4
#define LANE_BITS(m) ((unsigned)(((m)[0] & 1) | ((m)[1] & 2) | ((m)[2] & 4) | ((m)[3] & 8)))
#define EMIT(out, base, m) emit_bits(out, base, LANE_BITS(m))
#include "text/sampler_kern_body.h"

const struct sampler_kern sampler_kern_plain = SAMPLER_KERN_TABLE;

const struct sampler_kern *sampler_kern_best(void)
{
#if defined(__x86_64__)
    /* Everything the Makefile lets the compiler use in *_avx512.c, not only what it is likely to. */
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") &&
        __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("fma"))
        return &sampler_kern_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &sampler_kern_avx2;
#endif
    return &sampler_kern_plain;
}
