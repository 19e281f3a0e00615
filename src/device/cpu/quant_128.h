/* quant_128.h - the quantised product with 128-bit vectors (NEON): a quarter of a group, 4 of its 16 rows, in the lanes of one
 * register. A word of a quarter is 16 bytes, 4 rows by 4 values: what a dot product instruction takes, and its other operand is
 * any 4 of 16 bytes of an activation row, so that nothing is broadcast. Included by quant_neon.c, quant_dotprod.c and
 * quant_i8mm.c, which define
 *
 *     struct sums                       what one row's integer sum of a quarter is kept in
 *     sums_from(i)                      begins with i in every lane
 *     SUMS_ADD(s, bits, j, w, x)        adds word j (as signed bytes) times bytes 4 * (j % 4) .. of x
 *     sums_total(s)                     the sum as i32 lanes */
#ifndef HEARTH_DEVICE_CPU_QUANT_128_H
#define HEARTH_DEVICE_CPU_QUANT_128_H

#include <arm_neon.h>

#include "device/cpu/quant_multiply.h"
#include "device/cpu/quant_round.h"
#include "format/quant_codes.h"

#define AHEAD 2048 /* bytes that one activation row's walk asks for beforehand */
#define MOST 8     /* activation rows of a tile */

/* Loops over registers: whole, or the registers become memory. */
#define UNROLL _Pragma("GCC unroll 16")

/* Shifted left by n, or right by -n, and masked. */
INLINE uint8x16_t field(uint8x16_t v, const int n, const int mask)
{
    const int left = n > 0 ? n : 0, right = n < 0 ? -n : 0;
    if (left) v = v << left;
    if (right) v = v >> right;
    return (0xff << left & 0xff) >> right & ~mask ? v & vdupq_n_u8((uint8_t)mask) : v;
}

/* What codes mean. levels NULL: any. */
INLINE int8x16_t levels_of(const struct quant_levels *levels)
{
    return levels ? vld1q_s8(levels->value) : vdupq_n_s8(0);
}

/* The quarter that begins at `planes` of word j as signed bytes: stored form, 8-bit words less 128. */
INLINE int8x16_t word(const int bits, const bool coded, const int8x16_t levels, const unsigned char *planes,
                      const int j)
{
    if (bits == 8) return vreinterpretq_s8_u8(vld1q_u8(planes + 64 * j) ^ vdupq_n_u8(0x80));
    uint8x16_t w;
    int low;
    if (bits >= 4) {
        w = field(vld1q_u8(planes + 64 * (j & 3)), j < 4 ? 0 : -4, 15);
        if (bits == 4 && coded) return vqtbl1q_s8(levels, w);
        planes += 256;
        low = 4;
        if (bits - low >= 2) w = w | field(vld1q_u8(planes + 64 * (j >> 2)), 4 - 2 * (j & 3), 0x30);
    } else {
        w = field(vld1q_u8(planes + 64 * (j >> 2)), -2 * (j & 3), 3);
        planes += 128;
        low = 2;
    }
    if (bits - low == 1) w = w | field(vld1q_u8(planes), low - j, 1 << low);
    if (coded) return vqtbl1q_s8(levels, w);
    return vreinterpretq_s8_u8(w);
}

INLINE float32x4_t halves4(const unsigned char *p) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))); }
INLINE uint16x4_t bytes4(const unsigned char *p)
{
    uint32_t u;
    memcpy(&u, p, 4);
    return vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(u))));
}
INLINE float32x4_t unsigned4(const unsigned char *p) { return vcvtq_f32_u32(vmovl_u16(bytes4(p))); }
INLINE float32x4_t signed4(const unsigned char *p)
{
    uint32_t u;
    memcpy(&u, p, 4);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(u))))));
}

/* Scale and minimum of block i of its piece (half h of the block where scales are per 16) for rows 4 * r .. of the group; s
 * stands at the scales of the piece. */
INLINE void scales_at(const enum quant_scales scales, const float factor, const unsigned char *s, const int i,
                      const int h, const int r, float32x4_t *d, float32x4_t *m)
{
    *m = vdupq_n_f32(0.0f);
    switch (scales) {
    case QS_F16: *d = halves4(s + 32 * i + 8 * r); return;
    case QS_F16_MIN:
        *d = halves4(s + 8 * r);
        *m = halves4(s + 32 + 8 * r);
        return;
    case QS_K_MIN:
        *d = vmulq_f32(halves4(s + 8 * r), unsigned4(s + 64 + 32 * i + 4 * r));
        *m = vmulq_f32(vnegq_f32(halves4(s + 32 + 8 * r)), unsigned4(s + 64 + 32 * i + 16 + 4 * r));
        return;
    case QS_K:
        *d = vmulq_f32(vmulq_n_f32(halves4(s + 8 * r), factor), signed4(s + 32 + 16 * i + 4 * r));
        return;
    case QS_K16:
        *d = vmulq_f32(vmulq_n_f32(halves4(s + 8 * r), factor), signed4(s + 32 + 16 * (2 * i + h) + 4 * r));
        return;
    case QS_E8: /* 2^(e - 127) */
        *d = vreinterpretq_f32_u32(vmovl_u16(bytes4(s + 16 * i + 4 * r)) << 23);
        return;
    case QS_E4M3_16: { /* half of it: as a half its bits mean 2^-8 of it */
        const uint16x4_t bits = bytes4(s + 16 * (2 * i + h) + 4 * r) << 7;
        *d = vmulq_n_f32(vcvt_f32_f16(vreinterpret_f16_u16(bits)), 128.0f);
        return;
    }
    case QS_GROUP:
        *d = halves4(s + 8 * r);
        *m = vnegq_f32(vmulq_f32(*d, unsigned4(s + 32 + 4 * r)));
        return;
    case QS_K16_MIN: {
        const uint16x4_t both = bytes4(s + 64 + 16 * (2 * i + h) + 4 * r);
        *d = vmulq_f32(halves4(s + 8 * r), vcvtq_f32_u32(vmovl_u16(vand_u16(both, vdup_n_u16(15)))));
        *m = vmulq_f32(vnegq_f32(halves4(s + 32 + 8 * r)), vcvtq_f32_u32(vmovl_u16(vshr_n_u16(both, 4))));
        return;
    }
    }
}

/* How far right -128 times a sum is shifted to be -offset times it; nothing is owed where words are signed already. */
INLINE int owed_shift(const int offset)
{
    return offset == 32 ? 2 : offset == 16 ? 3 : offset == 8 ? 4 : offset == 4 ? 5 : 0;
}
INLINE bool owes(const int offset) { return offset != 0 && offset != 128; }

/* n of 1, 2 or 4 (or more) numbers from what stands beside a panel's bytes. */
INLINE float32x4_t load_floats(const unsigned char *p, const int n)
{
    if (n >= 4) return vreinterpretq_f32_u8(vld1q_u8(p));
    if (n == 2) return vcombine_f32(vreinterpret_f32_u8(vld1_u8(p)), vdup_n_f32(0));
    float f;
    memcpy(&f, p, 4);
    return vdupq_n_f32(f);
}

enum { FIRST, SECOND, BOTH }; /* halves of a block that share a scale */

/* Block i of its piece, or a half of it, for NC activation rows and NQ quarters from q0 on: onto the sums. */
INLINE void add_block(const int bits, const bool coded, const int offset, const enum quant_scales scales,
                      const int NC, const int NQ, const int h, const struct quant_levels *levels,
                      const unsigned char *s, int i, const unsigned char *planes, const int8_t *q,
                      const unsigned char *side, int cols, int q0, float32x4_t sum[MOST][4])
{
    const int step = NC < 4 ? NC : 4;
    const int8x16_t lut = levels_of(coded ? levels : NULL);
    const float factor = coded ? levels->factor : 1.0f;
    const unsigned char *neg_at = side + (h == BOTH ? 8 : 12 + 4 * h) * cols;
    int32x4_t neg[MOST / 4];
    UNROLL for (int c = 0; c < NC; c += 4)
    {
        neg[c / 4] = vreinterpretq_s32_f32(load_floats(neg_at + 4 * c, step));
        if (owes(offset)) neg[c / 4] = neg[c / 4] >> owed_shift(offset);
    }
    struct sums acc[MOST][4];
    UNROLL for (int c = 0; c < NC; c++) UNROLL for (int r = 0; r < NQ; r++) acc[c][r] =
        sums_from(vdupq_n_s32(owes(offset) ? neg[c / 4][c & 3] : 0));
#define STEP(j)                                                                                              \
    UNROLL for (int r = 0; r < NQ; r++)                                                                      \
    {                                                                                                        \
        const int8x16_t w = word(bits, coded, lut, planes + 16 * (q0 + r), j);                               \
        UNROLL for (int c = 0; c < NC; c++) SUMS_ADD(&acc[c][r], coded ? 8 : bits, (j)&3, w, x[c]);          \
    }
    int8x16_t x[MOST];
    if (h != SECOND) {
        UNROLL for (int c = 0; c < NC; c++) x[c] = vld1q_s8(q + 32 * c);
        STEP(0) STEP(1) STEP(2) STEP(3)
    }
    /* What holds two words is loaded twice: kept, it would push sums out of the registers. */
    if (NC * NQ >= 8) __asm__("" : "+r"(planes));
    if (h != FIRST) {
        UNROLL for (int c = 0; c < NC; c++) x[c] = vld1q_s8(q + 32 * c + 16);
        STEP(4) STEP(5) STEP(6) STEP(7)
    }
#undef STEP
    float32x4_t x_scale[MOST / 4], x_sum[MOST / 4];
    UNROLL for (int c = 0; c < NC; c += 4)
    {
        x_scale[c / 4] = load_floats(side + 4 * c, step);
        if (offset != 0) continue;
        x_sum[c / 4] = h == BOTH
                           ? load_floats(side + 4 * cols + 4 * c, step)
                           /* x_scale * (float)sum of the half: neg is -128 of it */
                           : vmulq_f32(vmulq_n_f32(x_scale[c / 4], -0.0078125f), vcvtq_f32_s32(neg[c / 4]));
    }
    UNROLL for (int r = 0; r < NQ; r++)
    {
        float32x4_t d, m;
        scales_at(scales, factor, s, i, h == SECOND, q0 + r, &d, &m);
        UNROLL for (int c = 0; c < NC; c++)
        {
            const float32x4_t idot = vcvtq_f32_s32(sums_total(&acc[c][r]));
            sum[c][r] = vfmaq_f32(sum[c][r], idot, vmulq_n_f32(d, x_scale[c / 4][c & 3]));
            if (offset == 0) sum[c][r] = vfmaq_n_f32(sum[c][r], m, x_sum[c / 4][c & 3]);
        }
    }
}

/* The walk over a group's blocks: PART(FIRST), PART(SECOND) or PART(BOTH) with the block's number `i` in its piece, the piece's
 * scales `s`, `planes`, and the activation rows' bytes `q` and what stands `side` of them. */
#define WALK_BLOCKS(PART)                                                                                    \
    do {                                                                                                     \
        const int per = quant_piece_blocks(scales);                                                          \
        const unsigned char *planes = group;                                                                 \
        for (int64_t b = 0; b < n_blocks; b += per) {                                                        \
            const unsigned char *s = planes;                                                                 \
            planes += quant_piece_scales(scales);                                                            \
            const int n = quant_piece_count(scales, n_blocks - b);                                           \
            for (int i = 0; i < n; i++) {                                                                    \
                const int8_t *q = (const int8_t *)panel + 32 * c0;                                           \
                const unsigned char *side = panel + 32 * cols + 4 * c0;                                      \
                if (alone) /* the weights are read once: they come from memory */                            \
                    for (int l = 0; l < bits; l++) __builtin_prefetch(planes + AHEAD + 64 * l);              \
                if (quant_by_16(scales)) {                                                                   \
                    PART(FIRST);                                                                             \
                    PART(SECOND);                                                                            \
                } else {                                                                                     \
                    PART(BOTH);                                                                              \
                }                                                                                            \
                planes += (size_t)bits * 64;                                                                 \
                panel += cols * QUANT_ROW_BLOCK_BYTES;                                                       \
            }                                                                                                \
        }                                                                                                    \
    } while (0)

/* Activation rows c0 .. c0 + NC of a panel of `cols`, quarters q0 .. q0 + NQ. */
INLINE void dot_fixed(const int bits, const bool coded, const int offset, const enum quant_scales scales,
                      const int NC, const int NQ, const struct quant_levels *levels,
                      const unsigned char *group, int64_t n_blocks, const unsigned char *panel, int cols,
                      int c0, int q0, float (*out)[QUANT_GROUP])
{
    const bool alone = NC == 1;
    float32x4_t sum[MOST][4];
    UNROLL for (int c = 0; c < NC; c++) UNROLL for (int r = 0; r < NQ; r++) sum[c][r] = vdupq_n_f32(0.0f);
#define PART(h)                                                                                              \
    add_block(bits, coded, offset, scales, NC, NQ, h, levels, s, i, planes, q, side, cols, q0, sum)
    WALK_BLOCKS(PART);
#undef PART
    UNROLL for (int c = 0; c < NC; c++) UNROLL for (int r = 0; r < NQ; r++)
        vst1q_f32(out[c0 + c] + 4 * (q0 + r), sum[c][r]);
}

/* quant_round_block() in vectors; the bytes go to `at` and, eight at a time, `apart` bytes further. */
INLINE void round_to(const float *restrict x, int8_t *at, size_t apart, unsigned char *out, int cols, int c,
                     float *restrict left)
{
    float32x4_t v[8], m = vdupq_n_f32(0.0f);
    UNROLL for (int k = 0; k < 8; k++)
    {
        v[k] = vld1q_f32(x + 4 * k);
        const float32x4_t a = vabsq_f32(v[k]);
        m = vbslq_f32(vcgtq_f32(a, m), a, m); /* as plain C: NaN is not larger */
    }
    const float amax = vmaxvq_f32(m);
    const float inv = amax > 1e-30f ? 127.0f / amax : 0.0f, scale = amax > 1e-30f ? amax / 127.0f : 0.0f;
    const float32x4_t magic = vdupq_n_f32(12582912.0f);
    int8x8_t q[4];
    UNROLL for (int k = 0; k < 4; k++)
    {
        const float32x4_t t0 = vfmaq_n_f32(magic, v[2 * k], inv), t1 = vfmaq_n_f32(magic, v[2 * k + 1], inv);
        if (left) { /* t - magic is q as a float */
            vst1q_f32(left + 8 * k, vfmaq_n_f32(v[2 * k], vsubq_f32(t0, magic), -scale));
            vst1q_f32(left + 8 * k + 4, vfmaq_n_f32(v[2 * k + 1], vsubq_f32(t1, magic), -scale));
        }
        q[k] = vmovn_s16(
            vcombine_s16(vmovn_s32(vreinterpretq_s32_f32(t0)), vmovn_s32(vreinterpretq_s32_f32(t1))));
        vst1_s8(at + (size_t)k * apart, q[k]);
    }
    const int32_t lo = vaddvq_s16(vaddl_s8(q[0], q[1])), hi = vaddvq_s16(vaddl_s8(q[2], q[3]));
    quant_round_side(out, cols, c, scale, lo, hi);
}

static int panel_rows(int64_t n) { return n < MOST ? n < 1 ? 1 : (int)n : MOST; }

#endif
