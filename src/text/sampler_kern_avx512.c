#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define SAMPLER_WIDTH 16
#define LANE_BITS(m) ((unsigned)_mm512_movepi32_mask((__m512i)(m)))
#define EMIT(out, base, m) emit_lanes(out, base, LANE_BITS(m))

/* Compress in a register, then store it whole: compressing straight into memory is microcoded on Zen. */
static inline size_t emit_lanes(int32_t *out, int32_t base, unsigned bits)
{
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i ids = _mm512_add_epi32(_mm512_set1_epi32(base), lanes);
    _mm512_storeu_si512(out, _mm512_maskz_compress_epi32((__mmask16)bits, ids));
    return (size_t)__builtin_popcount(bits);
}

#include "text/sampler_kern_body.h"

const struct sampler_kern sampler_kern_avx512 = SAMPLER_KERN_TABLE;
