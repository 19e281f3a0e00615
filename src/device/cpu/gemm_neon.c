/* gemm_neon.c - float products with 128-bit vectors of f32. */
#include "device/cpu/gemm_128.h"

static void product_bf16(float *c, int64_t ldc, const struct tiles *a, const unsigned char *b, size_t b_panel,
                         int m, int np, int64_t kb, bool add)
{
    for (int p = 0; p < np; p++, b += b_panel, c += 16) {
        int r = 0;
        for (; r + 4 <= m; r += 4) bf16_tile(c + r * ldc, ldc, a, r, b, kb, add, 4, 4);
        for (; r + 2 <= m; r += 2) bf16_tile(c + r * ldc, ldc, a, r, b, kb, add, 2, 4);
        if (r < m) bf16_tile(c + r * ldc, ldc, a, r, b, kb, add, 1, 4);
    }
}

const struct float_kern float_kern_neon = { FLOAT_BODY_TABLE,
                                            FLOAT_BODY_PACKING,
                                            .name = "neon",
                                            .kb_chunk = 16,
                                            .product_bf16 = product_bf16,
                                            .product_f32 = product_f32,
                                            .product_f16 = product_f16 };
