#include <arm_neon.h>

#define SAMPLER_WIDTH 4
#define LANE_BITS(m) lane_bits((int32x4_t)(m))
#define EMIT(out, base, m) emit_bits(out, base, LANE_BITS(m))

static inline unsigned lane_bits(int32x4_t m)
{
    const int32x4_t bit = { 1, 2, 4, 8 };
    return (unsigned)vaddvq_s32(vandq_s32(m, bit));
}

#include "text/sampler_kern_body.h"

const struct sampler_kern sampler_kern_neon = SAMPLER_KERN_TABLE;
