/* quant_avx2.c - without VNNI: bytes are multiplied to pairs, which are summed in 16 bits while a granule lasts.
 *
 * A granule's sum starts from -offset * (sum of the bytes), so that it is that of (w - offset) * q in the end: at most
 * 2 * 127 * 8 * 8 for 4 bits, 2 * 127 * 16 * 8 for 5, 2 * 127 * 32 * 4 for 6 (their granules have 16 elements): all fit. On the
 * way it may pass 16 bits: additions wrap around, and the pairs alone never saturate. */
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define EIGHT_IS_SIGNED true
#define WIDE_EIGHT true
#define MANY 24 /* bench/linear, weights from memory */
#define MANY_OF_BYTES 64

/* 5 bits without an offset would pass 16 bits: 31 * 127 * 2 * 8. */
INLINE int sums_lent(const int bits, const int offset) { return bits == 5 && offset == 0 ? 16 : 0; }

INLINE __m256i sums_start(const int bits, const int offset, __m256i less)
{
    if (bits == 8 || offset == 0) return _mm256_setzero_si256();
    const int shift = offset == 4 ? 2 : offset == 8 ? 3 : offset == 16 ? 4 : 5;
    return _mm256_slli_epi16(less, shift);
}

INLINE __m256i sums_add(const int bits, __m256i s, __m256i w, __m256i q)
{
    if (bits < 8) return _mm256_add_epi16(s, _mm256_maddubs_epi16(w, q));
    /* u8 * i8 + u8 * i8 passes 16 bits: |w| * (q with w's sign) does not */
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(q, w));
    return _mm256_add_epi32(s, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

INLINE __m256i sums_total(const int bits, __m256i s)
{
    return bits < 8 ? _mm256_madd_epi16(s, _mm256_set1_epi16(1)) : s;
}

#include "device/cpu/quant_256.h"

const struct quant_kern quant_kern_avx2 = { panel_rows, round_rows, multiply };
