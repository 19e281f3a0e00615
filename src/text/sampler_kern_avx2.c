#include <immintrin.h>

#define SAMPLER_WIDTH 8
#define LANE_BITS(m) ((unsigned)_mm256_movemask_ps((__m256)(m)))
#define EMIT(out, base, m) emit_bits(out, base, LANE_BITS(m))
#include "text/sampler_kern_body.h"

const struct sampler_kern sampler_kern_avx2 = SAMPLER_KERN_TABLE;
