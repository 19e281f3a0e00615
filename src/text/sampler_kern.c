#include "base/isa.h"

#define SAMPLER_WIDTH 4
#define LANE_BITS(m) ((unsigned)(((m)[0] & 1) | ((m)[1] & 2) | ((m)[2] & 4) | ((m)[3] & 8)))
#define EMIT(out, base, m) emit_bits(out, base, LANE_BITS(m))
#include "text/sampler_kern_body.h"

const struct sampler_kern sampler_kern_plain = SAMPLER_KERN_TABLE;

const struct sampler_kern *sampler_kern_pick(unsigned isa)
{
#if defined(__x86_64__)
    if (isa & ISA_AVX512) return &sampler_kern_avx512;
    if (isa & ISA_AVX2) return &sampler_kern_avx2;
#elif defined(__aarch64__)
    if (isa & ISA_NEON) return &sampler_kern_neon;
#endif
    (void)isa;
    return &sampler_kern_plain;
}
