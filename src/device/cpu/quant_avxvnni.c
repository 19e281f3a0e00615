/* quant_avxvnni.c - 256-bit VNNI, for processors that have it without AVX-512. */
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define EIGHT_IS_SIGNED false
#define WIDE_EIGHT false
#define MANY 32 /* bench/linear, weights from memory */
#define MANY_OF_BYTES 64

INLINE int sums_lent(const int bits, const int offset) { return (void)bits, (void)offset, 0; }

INLINE __m256i sums_start(const int bits, const int offset, __m256i less)
{
    (void)bits;
    if (offset == 0) return _mm256_setzero_si256();
    return _mm256_madd_epi16(less, _mm256_set1_epi16((short)offset));
}

INLINE __m256i sums_add(const int bits, __m256i s, __m256i w, __m256i q)
{
    (void)bits;
    return _mm256_dpbusd_avx_epi32(s, w, q);
}

INLINE __m256i sums_total(const int bits, __m256i s) { return (void)bits, s; }

#include "device/cpu/quant_256.h"

const struct quant_kern quant_kern_avxvnni = { panel_rows, round_rows, multiply };
