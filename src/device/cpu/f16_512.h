/* f16_512.h - f16 products with AVX-512: f16 is widened to f32 on the way, exactly. Static; included after gemm_512.h by the
 * files whose machines have nothing faster. */
#ifndef HEARTH_DEVICE_CPU_F16_512_H
#define HEARTH_DEVICE_CPU_F16_512_H

#define AHEAD 2048 /* bytes */

INLINE void f16_tile(float *c, int64_t ldc, const struct tiles *a, int r0, ptrdiff_t row,
                     const unsigned char *b, size_t b_panel, int64_t kb, bool add, const int rows,
                     const int panels)
{
    __m512 acc[REG_ROWS][REG_PANELS];
    load_sums(acc, c, ldc, add, rows, panels);
    for (int64_t k = 0; k < kb; k++, b += TILE_BYTES / 2) {
        const unsigned char *x = k_block(a, r0, row, k);
        /* A few rows wait for memory, and widening leaves the processor less room to look ahead by itself. */
        for (int p = 0; rows <= 2 && p < panels; p++)
            for (int i = 0; i < 8; i++)
                _mm_prefetch((const char *)b + (size_t)p * b_panel + AHEAD + i * 64, _MM_HINT_T0);
        for (int i = 0; i < 16; i++) {
            __m512 w[REG_PANELS];
            for (int p = 0; p < panels; p++)
                w[p] = _mm512_cvtph_ps(
                    _mm256_loadu_si256((const __m256i *)(const void *)(b + (size_t)p * b_panel + i * 32)));
            for (int r = 0; r < rows; r++) {
                float f;
                memcpy(&f, x + r * row + i * 4, sizeof f);
                const __m512 v = _mm512_set1_ps(f);
                for (int p = 0; p < panels; p++) acc[r][p] = _mm512_fmadd_ps(v, w[p], acc[r][p]);
            }
        }
    }
    store_sums(c, ldc, acc, rows, panels);
}

PRODUCT(product_f16, f16_tile)

#define FLOAT_512_F16 .product_f16 = product_f16, .pack_row_f16 = body_pack_row_f32

#endif
