/* quant_512.h - packed weights in 512-bit registers, for quant_avx512.c and quant_amx.c: decoding them and their scales.
 */
#ifndef HEARTH_DEVICE_CPU_QUANT_512_H
#define HEARTH_DEVICE_CPU_QUANT_512_H

#include <immintrin.h>

#include "device/cpu/quant_multiply.h"
#include "device/cpu/quant_round.h"
#include "format/quant_codes.h"

#define INLINE static inline __attribute__((always_inline))

/* Loops over constant bounds whose arrays must become registers: gcc keeps a copy of the array in memory when it unrolls
 * them by its own choice. */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

INLINE __m512i plane(const unsigned char *p) { return _mm512_load_si512(p); }

/* v shifted left (n > 0) or right within bytes' neighbourhood, then masked: other bytes' bits fall to the mask. */
INLINE __m512i field(__m512i v, int n, int mask)
{
    __m512i s = n > 0 ? _mm512_slli_epi16(v, (unsigned)n) : n < 0 ? _mm512_srli_epi16(v, (unsigned)-n) : v;
    return _mm512_and_si512(s, _mm512_set1_epi8((char)mask));
}

/* What codes mean, + 128, in each quarter of a register. levels NULL: any. */
INLINE __m512i levels_of(const struct quant_levels *levels)
{
    if (!levels) return _mm512_setzero_si512();
    const __m128i value = _mm_loadu_si128((const __m128i *)levels->value);
    return _mm512_broadcast_i32x4(_mm_xor_si128(value, _mm_set1_epi8(-128)));
}

/* Word j of a block, as u8. All but `levels` and `planes` are constants where this is inlined. */
INLINE __m512i word(const int bits, const bool coded, const __m512i levels, const unsigned char *planes,
                    const int j)
{
    if (bits == 8) return plane(planes + 64 * j);
    __m512i w;
    int low = 0;
    if (bits >= 4) {
        w = field(plane(planes + 64 * (j & 3)), j < 4 ? 0 : -4, 15);
        if (bits == 4 && coded) return _mm512_shuffle_epi8(levels, w);
        planes += 256;
        low = 4;
        if (bits - low >= 2) {
            w = _mm512_or_si512(w, field(plane(planes + 64 * (j >> 2)), 4 - 2 * (j & 3), 0x30));
        }
    } else {
        w = field(plane(planes + 64 * (j >> 2)), -2 * (j & 3), 3);
        planes += 128;
        low = 2;
    }
    if (bits - low == 1) w = _mm512_or_si512(w, field(plane(planes), low - j, 1 << low));
    if (coded) return _mm512_shuffle_epi8(levels, w);
    return w;
}

INLINE __m512 halves16(const unsigned char *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
INLINE __m512 unsigned16(const unsigned char *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
INLINE __m512 signed16(const unsigned char *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
INLINE __m512 powers16(const unsigned char *p) /* 2^(e - 127) */
{
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)), 23));
}
INLINE __m512 e4m3_16(const unsigned char *p) /* half of it: as a half its bits mean 2^-8 of it */
{
    const __m256i half = _mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p)), 7);
    return _mm512_mul_ps(_mm512_cvtph_ps(half), _mm512_set1_ps(128.0f));
}
INLINE __m512 negated(__m512 v) { return _mm512_sub_ps(_mm512_setzero_ps(), v); }
INLINE __m512 float_at(const unsigned char *p)
{
    float f;
    memcpy(&f, p, 4);
    return _mm512_set1_ps(f);
}
INLINE __m512i int_at(const unsigned char *p)
{
    int32_t i;
    memcpy(&i, p, 4);
    return _mm512_set1_epi32(i);
}

#endif
