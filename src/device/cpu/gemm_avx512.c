/* Float kernels for AVX-512 without bf16 products: bf16 is widened to f32 on the way. */
#include "device/cpu/float_body.h"

#include <immintrin.h>

static inline __attribute__((always_inline)) __m512i round_high(__m512 f)
{
    const __m512i u = _mm512_castps_si512(f);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    const __m512i r = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    const __mmask16 nan = _mm512_cmp_ps_mask(f, f, _CMP_UNORD_Q);
    return _mm512_mask_or_epi32(r, nan, u, _mm512_set1_epi32(0x400000));
}

static inline __attribute__((always_inline)) __m512i to_bf16(__m512 lo, __m512 hi)
{
    const __m256i l = _mm512_cvtepi32_epi16(_mm512_srli_epi32(round_high(lo), 16));
    const __m256i h = _mm512_cvtepi32_epi16(_mm512_srli_epi32(round_high(hi), 16));
    return _mm512_inserti64x4(_mm512_castsi256_si512(l), h, 1);
}

#include "device/cpu/gemm_512.h"
#include "device/cpu/f16_512.h"
#include "device/cpu/rows_512.h"

INLINE void bf16_tile(float *c, int64_t ldc, const struct tiles *a, int r0, ptrdiff_t row,
                      const unsigned char *b, size_t b_panel, int64_t kb, bool add, const int rows,
                      const int panels)
{
    __m512 acc[REG_ROWS][REG_PANELS];
    load_sums(acc, c, ldc, add, rows, panels);
    for (int64_t k = 0; k < kb; k++, b += TILE_BYTES) {
        const unsigned char *x = k_block(a, r0, row, k);
        for (int i = 0; i < 16; i++)
            for (int half = 0; half < 2; half++) {
                __m512 w[REG_PANELS];
                for (int p = 0; p < panels; p++) {
                    const __m512i h = _mm512_loadu_si512(b + (size_t)p * b_panel + i * 64);
                    w[p] = half ? widen_high(h) : widen_low(h);
                }
                for (int r = 0; r < rows; r++) {
                    uint16_t u;
                    memcpy(&u, x + r * row + i * 4 + half * 2, sizeof u);
                    const __m512 v = _mm512_set1_ps(bf16_to_f32(u));
                    for (int p = 0; p < panels; p++) acc[r][p] = _mm512_fmadd_ps(v, w[p], acc[r][p]);
                }
            }
    }
    store_sums(c, ldc, acc, rows, panels);
}

PRODUCT(product_bf16, bf16_tile)

const struct float_kern float_kern_avx512 = { FLOAT_BODY_TABLE,
                                              FLOAT_512_TABLE,
                                              FLOAT_512_ROWS,
                                              FLOAT_512_F16,
                                              .name = "avx512",
                                              .kb_chunk = 8,
                                              .product_bf16 = product_bf16 };
