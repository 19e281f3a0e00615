/* quant_avxvnni.c - 256-bit VNNI, for processors that have it without AVX-512. */
#include <immintrin.h>

#define INLINE static inline __attribute__((always_inline))
#define EIGHT_IS_SIGNED false

struct sums {
    __m256i fours;
};

INLINE void sums_add(struct sums *s, const int bits, const int j, __m256i w, __m256i q)
{
    (void)bits;
    (void)j;
    s->fours = _mm256_dpbusd_avx_epi32(s->fours, w, q);
}

INLINE __m256i sums_total(const struct sums *s) { return s->fours; }

#include "device/cpu/quant_256.h"

const struct quant_kern quant_kern_avxvnni = { panel_rows, round_rows, multiply };
