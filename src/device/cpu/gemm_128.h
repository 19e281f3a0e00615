/* gemm_128.h - float products with 128-bit vectors: 8 rows by half a panel (two registers), or 4 rows by one, whose sums, a
 * value of A for each of four k and the row of B fit the 32 registers. A value of A is a lane of a register: the instruction takes
 * it from there, so nothing is broadcast. bf16 and f16 are widened to f32 on the way, exactly. */
#ifndef HEARTH_DEVICE_CPU_GEMM_128_H
#define HEARTH_DEVICE_CPU_GEMM_128_H

#include <arm_neon.h>

#include "device/cpu/float_body.h"

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define MOST 8 /* rows of a register tile */

INLINE const unsigned char *k_block(const struct tiles *a, int r, int64_t kb)
{
    return a->tile[r / 16] + r % 16 * a->row + (a->k_off ? a->k_off[kb] : (ptrdiff_t)kb * TILE_BYTES);
}

INLINE float32x4_t floats_at(const unsigned char *p) { return vreinterpretq_f32_u8(vld1q_u8(p)); }

/* V registers of a row of sums. */
INLINE void load_sums(float32x4_t (*sum)[4], const float *c, int64_t ldc, bool add, const int rows,
                      const int V)
{
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < V; v++) sum[r][v] =
        add ? vld1q_f32(c + r * ldc + 4 * v) : vdupq_n_f32(0.0f);
}
INLINE void store_sums(float *c, int64_t ldc, float32x4_t (*sum)[4], const int rows, const int V)
{
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < V; v++)
        vst1q_f32(c + r * ldc + 4 * v, sum[r][v]);
}

/* Rows r0 .. of C (which stands there) and V registers of columns; b stands at their first. f16: B is halves. */
INLINE void f32_tile(float *c, int64_t ldc, const struct tiles *a, int r0, const unsigned char *b, int64_t kb,
                     bool add, const bool f16, const int rows, const int V)
{
    float32x4_t sum[MOST][4];
    load_sums(sum, c, ldc, add, rows, V);
    for (int64_t k = 0; k < kb; k++) {
        const unsigned char *x = k_block(a, r0, k);
        for (int i = 0; i < 4; i++, x += 16, b += f16 ? 128 : 256) {
            float32x4_t four[MOST], w[4];
            UNROLL for (int r = 0; r < rows; r++) four[r] = floats_at(x + r * a->row);
#define STEP(l)                                                                                              \
    UNROLL for (int v = 0; v < V; v++) w[v] =                                                                \
        f16 ? vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(b + 32 * (l) + 8 * v)))                               \
            : floats_at(b + 64 * (l) + 16 * v);                                                              \
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int v = 0; v < V; v++) sum[r][v] =                     \
        vfmaq_laneq_f32(sum[r][v], w[v], four[r], l);
            STEP(0) STEP(1) STEP(2) STEP(3)
#undef STEP
        }
    }
    store_sums(c, ldc, sum, rows, V);
}

/* Even and odd k of pairs of bf16, as f32. */
INLINE float32x4_t low_halves(uint32x4_t pairs) { return vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16)); }
INLINE float32x4_t high_halves(uint32x4_t pairs)
{
    return vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000u)));
}
INLINE uint32x4_t pairs_at(const unsigned char *p) { return vreinterpretq_u32_u8(vld1q_u8(p)); }

INLINE void bf16_tile(float *c, int64_t ldc, const struct tiles *a, int r0, const unsigned char *b,
                      int64_t kb, bool add, const int rows, const int V)
{
    float32x4_t sum[MOST][4];
    load_sums(sum, c, ldc, add, rows, V);
    for (int64_t k = 0; k < kb; k++) {
        const unsigned char *x = k_block(a, r0, k);
        for (int i = 0; i < 4; i++, x += 16, b += 256) { /* eight k */
            float32x4_t even[MOST], odd[MOST];
            UNROLL for (int r = 0; r < rows; r++)
            {
                const uint32x4_t pairs = pairs_at(x + r * a->row);
                even[r] = low_halves(pairs);
                odd[r] = high_halves(pairs);
            }
#define STEP(l)                                                                                              \
    UNROLL for (int v = 0; v < V; v++)                                                                       \
    {                                                                                                        \
        const uint32x4_t w = pairs_at(b + 64 * (l) + 16 * v);                                                \
        const float32x4_t low = low_halves(w), high = high_halves(w);                                        \
        UNROLL for (int r = 0; r < rows; r++) sum[r][v] = vfmaq_laneq_f32(sum[r][v], low, even[r], l);       \
        UNROLL for (int r = 0; r < rows; r++) sum[r][v] = vfmaq_laneq_f32(sum[r][v], high, odd[r], l);       \
    }
            STEP(0) STEP(1) STEP(2) STEP(3)
#undef STEP
        }
    }
    store_sums(c, ldc, sum, rows, V);
}

static void product_f32(float *c, int64_t ldc, const struct tiles *a, const unsigned char *b, size_t b_panel,
                        int m, int np, int64_t kb, bool add)
{
    for (int p = 0; p < np; p++, b += b_panel, c += 16) {
        int r = 0;
        for (; r + 8 <= m; r += 8)
            for (int h = 0; h < 2; h++)
                f32_tile(c + r * ldc + 8 * h, ldc, a, r, b + 32 * h, kb, add, false, 8, 2);
        for (; r + 4 <= m; r += 4) f32_tile(c + r * ldc, ldc, a, r, b, kb, add, false, 4, 4);
        for (; r + 2 <= m; r += 2) f32_tile(c + r * ldc, ldc, a, r, b, kb, add, false, 2, 4);
        if (r < m) f32_tile(c + r * ldc, ldc, a, r, b, kb, add, false, 1, 4);
    }
}

static void product_f16(float *c, int64_t ldc, const struct tiles *a, const unsigned char *b, size_t b_panel,
                        int m, int np, int64_t kb, bool add)
{
    for (int p = 0; p < np; p++, b += b_panel, c += 16) {
        int r = 0;
        for (; r + 8 <= m; r += 8)
            for (int h = 0; h < 2; h++)
                f32_tile(c + r * ldc + 8 * h, ldc, a, r, b + 16 * h, kb, add, true, 8, 2);
        for (; r + 4 <= m; r += 4) f32_tile(c + r * ldc, ldc, a, r, b, kb, add, true, 4, 4);
        for (; r + 2 <= m; r += 2) f32_tile(c + r * ldc, ldc, a, r, b, kb, add, true, 2, 4);
        if (r < m) f32_tile(c + r * ldc, ldc, a, r, b, kb, add, true, 1, 4);
    }
}

#endif
