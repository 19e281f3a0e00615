/* quant_neon.c - without dot products (Cortex-A53, A72): bytes are multiplied to 16 bits, which hold the sums of a few words
 * exactly, and those are added up in pairs. */
#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))

struct sums {
    int16x8_t lo, hi;         /* rows 0 and 1, rows 2 and 3: four products each */
    int32x4_t two_lo, two_hi; /* two sums a row */
    int32x4_t from;
};

INLINE struct sums sums_from(int32x4_t v)
{
    return (struct sums){ vdupq_n_s16(0), vdupq_n_s16(0), vdupq_n_s32(0), vdupq_n_s32(0), v };
}

INLINE void sums_add(struct sums *s, const int bits, const int j, int8x16_t w, int8x16_t four)
{
    s->lo = vmlal_s8(s->lo, vget_low_s8(w), vget_low_s8(four));
    s->hi = vmlal_high_s8(s->hi, w, four);
    /* A word adds at most 127 * (2^bits - 1), or 127 * 128: 8 words of 4 or 5 bits fit, 4 of 6 bits, 2 of 8. */
    const int fit = bits <= 5 ? 8 : bits == 6 ? 4 : 2;
    if (fit == 8 || (j + 1) % fit) return; /* sums_total() adds what is left */
    s->two_lo = vpadalq_s16(s->two_lo, s->lo);
    s->two_hi = vpadalq_s16(s->two_hi, s->hi);
    s->lo = s->hi = vdupq_n_s16(0);
}
#define SUMS_ADD(s, bits, j, w, x)                                                                           \
    sums_add(s, bits, j, w, vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(x), j)))

INLINE int32x4_t sums_total(const struct sums *s)
{
    const int32x4_t lo = vpadalq_s16(s->two_lo, s->lo), hi = vpadalq_s16(s->two_hi, s->hi);
    return vaddq_s32(s->from, vpaddq_s32(lo, hi));
}
#define TILE_QUARTERS(NC) ((NC) == 8 ? 0 : (NC) == 4 ? 1 : 2)

#include "device/cpu/quant_rows_128.h"

const struct quant_kern quant_kern_neon = { panel_rows, round_rows, multiply };
