/* quant_i8mm.c - with int8 matrix products: 2 weight rows by 2 activation rows by 8 values an instruction, twice the products of a
 * dot product. Two words of a quarter are interleaved to rows of 8; activation rows stand in pairs in their panel, 8 values of the
 * one and 8 of the other (a last single row as it is: it goes through dot products, the integers are the same). */
#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))

struct sums {
    int32x4_t fours;
};

INLINE struct sums sums_from(int32x4_t v) { return (struct sums){ v }; }
#define SUMS_ADD(s, bits, j, w, x) ((s)->fours = vdotq_laneq_s32((s)->fours, w, x, j))
INLINE int32x4_t sums_total(const struct sums *s) { return s->fours; }

#include "device/cpu/quant_128.h"

/* Words 2k and 2k + 1 of a quarter: rows 0 and 1, rows 2 and 3, eight values each. */
INLINE void words_of_8(const int bits, const bool coded, const int8x16_t levels, const unsigned char *planes,
                       const int k, int8x16_t w[2])
{
    if (bits ==
        4) { /* both nibbles at once: words 2k and 2k + 1 are the low ones where 2k + 4 and 2k + 5 are the high */
        const uint32x4_t a = vreinterpretq_u32_u8(vld1q_u8(planes + 128 * (k & 1)));
        const uint32x4_t b = vreinterpretq_u32_u8(vld1q_u8(planes + 128 * (k & 1) + 64));
        const uint8x16_t lo = field(vreinterpretq_u8_u32(vzip1q_u32(a, b)), k < 2 ? 0 : -4, 15);
        const uint8x16_t hi = field(vreinterpretq_u8_u32(vzip2q_u32(a, b)), k < 2 ? 0 : -4, 15);
        w[0] = coded ? vqtbl1q_s8(levels, lo) : vreinterpretq_s8_u8(lo);
        w[1] = coded ? vqtbl1q_s8(levels, hi) : vreinterpretq_s8_u8(hi);
        return;
    }
    const int32x4_t a = vreinterpretq_s32_s8(word(bits, coded, levels, planes, 2 * k));
    const int32x4_t b = vreinterpretq_s32_s8(word(bits, coded, levels, planes, 2 * k + 1));
    w[0] = vreinterpretq_s8_s32(vzip1q_s32(a, b));
    w[1] = vreinterpretq_s8_s32(vzip2q_s32(a, b));
}

/* What stands beside two activation rows, for two weight rows: x0 x1 x0 x1. */
INLINE int32x4_t two_twice(const unsigned char *p)
{
    int64_t both;
    memcpy(&both, p, sizeof both);
    return vreinterpretq_s32_s64(vdupq_n_s64(both));
}

/* As add_block(), for NP pairs of activation rows. sum[p][2r] is rows 0 and 1 of quarter q0 + r, sum[p][2r + 1] rows 2 and 3: a
 * weight row with both activation rows, then the next. */
INLINE void add_pairs(const int bits, const bool coded, const int offset, const enum quant_scales scales,
                      const int NP, const int NQ, const int h, const struct quant_levels *levels,
                      const unsigned char *s, int i, const unsigned char *planes, const int8_t *q,
                      const unsigned char *side, int cols, int q0, float32x4_t sum[MOST / 2][8])
{
    const unsigned char *neg = side + (h == BOTH ? 8 : 12 + 4 * h) * cols;
    const int8x16_t lut = levels_of(coded ? levels : NULL);
    const float factor = coded ? levels->factor : 1.0f;
    int32x4_t acc[MOST / 2][8];
    UNROLL for (int p = 0; p < NP; p++) UNROLL for (int r = 0; r < 2 * NQ; r++) acc[p][r] =
        owes(offset) ? two_twice(neg + 8 * p) >> owed_shift(offset) : vdupq_n_s32(0);
#define STEP(k)                                                                                              \
    UNROLL for (int p = 0; p < NP; p++) x[p] = vld1q_s8(q + 64 * p + 16 * (k));                              \
    UNROLL for (int r = 0; r < NQ; r++)                                                                      \
    {                                                                                                        \
        int8x16_t w[2];                                                                                      \
        words_of_8(bits, coded, lut, planes + 16 * (q0 + r), k, w);                                          \
        UNROLL for (int p = 0; p < NP; p++)                                                                  \
        {                                                                                                    \
            acc[p][2 * r] = vmmlaq_s32(acc[p][2 * r], w[0], x[p]);                                           \
            acc[p][2 * r + 1] = vmmlaq_s32(acc[p][2 * r + 1], w[1], x[p]);                                   \
        }                                                                                                    \
    }
    int8x16_t x[MOST / 2];
    if (h != SECOND) {
        STEP(0) STEP(1)
    }
    __asm__("" : "+r"(planes)); /* as in add_block() */
    if (h != FIRST) {
        STEP(2) STEP(3)
    }
#undef STEP
    UNROLL for (int r = 0; r < NQ; r++)
    {
        float32x4_t d, m;
        scales_at(scales, factor, s, i, h == SECOND, q0 + r, &d, &m);
        const float32x4_t d2[2] = { vzip1q_f32(d, d), vzip2q_f32(d, d) };
        const float32x4_t m2[2] = { vzip1q_f32(m, m), vzip2q_f32(m, m) };
        UNROLL for (int p = 0; p < NP; p++)
        {
            const float32x4_t x_scale = vreinterpretq_f32_s32(two_twice(side + 8 * p));
            float32x4_t *to = &sum[p][2 * r];
            to[0] = vfmaq_f32(to[0], vcvtq_f32_s32(acc[p][2 * r]), vmulq_f32(d2[0], x_scale));
            to[1] = vfmaq_f32(to[1], vcvtq_f32_s32(acc[p][2 * r + 1]), vmulq_f32(d2[1], x_scale));
            if (offset != 0) continue;
            const float32x4_t x_sum = h == BOTH ? vreinterpretq_f32_s32(two_twice(side + 4 * cols + 8 * p))
                                                : vmulq_f32(vmulq_n_f32(x_scale, -0.0078125f),
                                                            vcvtq_f32_s32(two_twice(neg + 8 * p)));
            to[0] = vfmaq_f32(to[0], m2[0], x_sum);
            to[1] = vfmaq_f32(to[1], m2[1], x_sum);
        }
    }
}

/* Activation rows c0 .. c0 + 2 * NP, quarters q0 .. q0 + NQ. */
INLINE void dot_pairs(const int bits, const bool coded, const int offset, const enum quant_scales scales,
                      const int NP, const int NQ, const struct quant_levels *levels,
                      const unsigned char *group, int64_t n_blocks, const unsigned char *panel, int cols,
                      int c0, int q0, float (*out)[QUANT_GROUP])
{
    const bool alone = false;
    float32x4_t sum[MOST / 2][8];
    UNROLL for (int p = 0; p < NP; p++) UNROLL for (int r = 0; r < 2 * NQ; r++) sum[p][r] = vdupq_n_f32(0.0f);
#define PART(h)                                                                                              \
    add_pairs(bits, coded, offset, scales, NP, NQ, h, levels, s, i, planes, q, side, cols, q0, sum)
    WALK_BLOCKS(PART);
#undef PART
    UNROLL for (int p = 0; p < NP; p++) UNROLL for (int r = 0; r < NQ; r++)
    {
        const float32x4_t a = sum[p][2 * r], b = sum[p][2 * r + 1];
        vst1q_f32(out[c0 + 2 * p] + 4 * (q0 + r), vuzp1q_f32(a, b));
        vst1q_f32(out[c0 + 2 * p + 1] + 4 * (q0 + r), vuzp2q_f32(a, b));
    }
}

#define DOT(name, ...)                                                                                       \
    static void dot_##name(const struct quant_levels *levels, const unsigned char *group, int64_t n_blocks,  \
                           const unsigned char *panel, int cols, float(*out)[QUANT_GROUP])                   \
    {                                                                                                        \
        int c = 0;                                                                                           \
        for (; c + 8 <= cols; c += 8)                                                                        \
            for (int q = 0; q < 4; q++)                                                                      \
                dot_pairs(__VA_ARGS__, 4, 1, levels, group, n_blocks, panel, cols, c, q, out);               \
        for (; c + 4 <= cols; c += 4)                                                                        \
            for (int q = 0; q < 4; q += 2)                                                                   \
                dot_pairs(__VA_ARGS__, 2, 2, levels, group, n_blocks, panel, cols, c, q, out);               \
        if (c + 2 <= cols) {                                                                                 \
            for (int q = 0; q < 4; q += 2)                                                                   \
                dot_pairs(__VA_ARGS__, 1, 2, levels, group, n_blocks, panel, cols, c, q, out);               \
            c += 2;                                                                                          \
        }                                                                                                    \
        if (c < cols) dot_fixed(__VA_ARGS__, 1, 4, levels, group, n_blocks, panel, cols, c, 0, out);         \
    }

INLINE int8_t *place_of(unsigned char *out, int cols, int c, size_t *apart)
{
    const bool pair = (c | 1) < cols;
    *apart = pair ? 16 : 8;
    return (int8_t *)out + (pair ? 64 * (c / 2) + 8 * (c & 1) : 32 * c);
}

#include "device/cpu/quant_dot_128.h"

const struct quant_kern quant_kern_i8mm = { panel_rows, round_rows, multiply };
