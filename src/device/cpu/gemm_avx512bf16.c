/* Float kernels for AVX-512 with bf16 dot products (Zen 4 and later, Cooper Lake). */
#include "device/cpu/float_body.h"

#include <immintrin.h>

static inline __attribute__((always_inline)) __m512i to_bf16(__m512 lo, __m512 hi)
{
    return (__m512i)_mm512_cvtne2ps_pbh(hi, lo);
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
        for (int i = 0; i < 16; i++) {
            __m512i w[REG_PANELS];
            for (int p = 0; p < panels; p++) w[p] = _mm512_loadu_si512(b + (size_t)p * b_panel + i * 64);
            for (int r = 0; r < rows; r++) {
                int pair;
                memcpy(&pair, x + r * row + i * 4, sizeof pair);
                const __m512i v = _mm512_set1_epi32(pair);
                for (int p = 0; p < panels; p++)
                    acc[r][p] = _mm512_dpbf16_ps(acc[r][p], (__m512bh)v, (__m512bh)w[p]);
            }
        }
    }
    store_sums(c, ldc, acc, rows, panels);
}

PRODUCT(product_bf16, bf16_tile)

const struct float_kern float_kern_avx512bf16 = { FLOAT_BODY_TABLE,     FLOAT_512_TABLE,
                                                  FLOAT_512_ROWS,       FLOAT_512_F16,
                                                  .name = "avx512bf16", .kb_chunk = 8,
                                                  .bf16_faster = true,  .product_bf16 = product_bf16 };
