/* gemm_armbf16.c - float products with bf16 matrix products: 2 rows by 2 columns by 4 values of k an instruction, four times the
 * products of one on f32. Its sums are rounded in a way of their own (to odd, denormals to zero), so that even a single row goes
 * through it: as a pair with itself. B tiles are [8 fours of k][16 columns][4]: packing interleaves the pairs that float_kern.h
 * speaks of. */
#include "device/cpu/gemm_128.h"

INLINE bfloat16x8_t as_bf16(uint64x2_t v) { return vreinterpretq_bf16_u64(v); }

/* Rows r0 .. (a number of pairs; `alone`: one row) and 2 * Q columns; b stands at their first. */
INLINE void pairs_tile(float *c, int64_t ldc, const struct tiles *a, int r0, const unsigned char *b,
                       int64_t kb, bool add, const int pairs, const int Q, const bool alone)
{
    float32x4_t sum[MOST / 2][8];
    UNROLL for (int p = 0; p < pairs; p++) UNROLL for (int q = 0; q < Q; q++)
    {
        const float *at = c + 2 * p * ldc + 2 * q;
        const float32x2_t zero = vdup_n_f32(0.0f);
        sum[p][q] = vcombine_f32(add ? vld1_f32(at) : zero, add && !alone ? vld1_f32(at + ldc) : zero);
    }
    for (int64_t k = 0; k < kb; k++) {
        const unsigned char *x = k_block(a, r0, k);
        for (int i = 0; i < 4; i++, x += 16, b += 256) { /* eight k: two fours */
            uint64x2_t low[MOST / 2], high[MOST / 2];
            UNROLL for (int p = 0; p < pairs; p++)
            {
                const uint64x2_t one = vreinterpretq_u64_u8(vld1q_u8(x + 2 * p * a->row));
                const uint64x2_t two = alone ? one : vreinterpretq_u64_u8(vld1q_u8(x + (2 * p + 1) * a->row));
                low[p] = vzip1q_u64(one, two);
                high[p] = vzip2q_u64(one, two);
            }
            UNROLL for (int q = 0; q < Q; q++)
            {
                const bfloat16x8_t w = as_bf16(vreinterpretq_u64_u8(vld1q_u8(b + 16 * q)));
                UNROLL for (int p = 0; p < pairs; p++) sum[p][q] =
                    vbfmmlaq_f32(sum[p][q], as_bf16(low[p]), w);
            }
            UNROLL for (int q = 0; q < Q; q++)
            {
                const bfloat16x8_t w = as_bf16(vreinterpretq_u64_u8(vld1q_u8(b + 128 + 16 * q)));
                UNROLL for (int p = 0; p < pairs; p++) sum[p][q] =
                    vbfmmlaq_f32(sum[p][q], as_bf16(high[p]), w);
            }
        }
    }
    UNROLL for (int p = 0; p < pairs; p++) UNROLL for (int q = 0; q < Q; q++)
    {
        float *at = c + 2 * p * ldc + 2 * q;
        vst1_f32(at, vget_low_f32(sum[p][q]));
        if (!alone) vst1_f32(at + ldc, vget_high_f32(sum[p][q]));
    }
}

static void product_bf16(float *c, int64_t ldc, const struct tiles *a, const unsigned char *b, size_t b_panel,
                         int m, int np, int64_t kb, bool add)
{
    for (int p = 0; p < np; p++, b += b_panel, c += 16) {
        int r = 0;
        for (; r + 8 <= m; r += 8)
            for (int h = 0; h < 2; h++)
                pairs_tile(c + r * ldc + 8 * h, ldc, a, r, b + 64 * h, kb, add, 4, 4, false);
        for (; r + 4 <= m; r += 4) pairs_tile(c + r * ldc, ldc, a, r, b, kb, add, 2, 8, false);
        for (; r + 2 <= m; r += 2) pairs_tile(c + r * ldc, ldc, a, r, b, kb, add, 1, 8, false);
        if (r < m) pairs_tile(c + r * ldc, ldc, a, r, b, kb, add, 1, 8, true);
    }
}

/* Two rows of pairs of B to one of fours, in place, `tiles` times 8. */
static void pairs_to_fours(unsigned char *b, int64_t tiles)
{
    for (int64_t i = 0; i < 8 * tiles; i++, b += 128) {
        uint32x4_t one[4], two[4];
        UNROLL for (int v = 0; v < 4; v++)
        {
            one[v] = pairs_at(b + 16 * v);
            two[v] = pairs_at(b + 64 + 16 * v);
        }
        UNROLL for (int v = 0; v < 4; v++)
        {
            vst1q_u8(b + 32 * v, vreinterpretq_u8_u32(vzip1q_u32(one[v], two[v])));
            vst1q_u8(b + 32 * v + 16, vreinterpretq_u8_u32(vzip2q_u32(one[v], two[v])));
        }
    }
}

static void pack_panel_bf16(unsigned char *dst, const unsigned char *const row[16], enum dtype type,
                            int64_t n)
{
    body_pack_panel_bf16(dst, row, type, n);
    pairs_to_fours(dst, (n + KB_BF16 - 1) / KB_BF16);
}

static void pack_b_bf16(unsigned char *dst, size_t b_panel, const float *x, int64_t ldx, int n_k, int n)
{
    body_pack_b_bf16(dst, b_panel, x, ldx, n_k, n);
    for (int j = 0; j < n; j += 16, dst += b_panel) pairs_to_fours(dst, (n_k + KB_BF16 - 1) / KB_BF16);
}

const struct float_kern float_kern_armbf16 = { FLOAT_BODY_TABLE,
                                               .store_far = body_store_far,
                                               .pack_row_bf16 = body_pack_row_bf16,
                                               .softmax_bf16 = body_softmax_bf16,
                                               .pack_panel_bf16 = pack_panel_bf16,
                                               .pack_panel_f32 = body_pack_panel_f32,
                                               .pack_b_bf16 = pack_b_bf16,
                                               .pack_row_f16 = body_pack_row_f32,
                                               .pack_panel_f16 = body_pack_panel_f16,
                                               .name = "bf16",
                                               .bf16_faster = true,
                                               .kb_chunk = 16,
                                               .product_bf16 = product_bf16,
                                               .product_f32 = product_f32,
                                               .product_f16 = product_f16 };
