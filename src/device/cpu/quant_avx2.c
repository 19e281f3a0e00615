/* quant_avx2.c - without VNNI: bytes are multiplied to 16-bit pairs, which hold the sums of a few words exactly. */
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define EIGHT_IS_SIGNED true

struct sums {
    __m256i pairs; /* i16 */
    __m256i fours; /* i32 */
};

INLINE void sums_add(struct sums *s, const int bits, const int j, __m256i w, __m256i q)
{
    if (bits == 8) { /* u8 * i8 + u8 * i8 passes 16 bits: |w - 128| * (q with its sign) does not */
        __m256i v = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
        w = _mm256_abs_epi8(v);
        q = _mm256_sign_epi8(q, v);
    }
    s->pairs = _mm256_add_epi16(s->pairs, _mm256_maddubs_epi16(w, q));
    /* A word adds at most 2 * 127 * (2^bits - 1): 8 words of 4 bits fit, 4 of 5 bits, 2 of 6, one of 8. */
    const int fit = bits <= 4 ? 8 : bits == 5 ? 4 : bits == 6 ? 2 : 1;
    if (fit == 8 || (j + 1) % fit) return; /* sums_total() adds what is left */
    s->fours = _mm256_add_epi32(s->fours, _mm256_madd_epi16(s->pairs, _mm256_set1_epi16(1)));
    s->pairs = _mm256_setzero_si256();
}

INLINE __m256i sums_total(const struct sums *s)
{
    return _mm256_add_epi32(s->fours, _mm256_madd_epi16(s->pairs, _mm256_set1_epi16(1)));
}

#include "device/cpu/quant_256.h"

const struct quant_kern quant_kern_avx2 = { panel_rows, round_rows, multiply };
