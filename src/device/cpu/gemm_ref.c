/* The table in plain C: the definition of each kernel. */
#include "device/cpu/float_body.h"

static inline const unsigned char *tile_row(const struct tiles *a, int r, int64_t kb)
{
    return a->tile[r / 16] + r % 16 * a->row + (a->k_off ? a->k_off[kb] : (ptrdiff_t)kb * TILE_BYTES);
}

static void product_bf16(float *c, int64_t ldc, const struct tiles *a, const unsigned char *b, size_t b_panel,
                         int m, int np, int64_t kb, bool add)
{
    for (int r = 0; r < m; r++)
        for (int p = 0; p < np; p++) {
            float *out = c + r * ldc + (int64_t)p * 16, acc[16] = { 0 };
            if (add) memcpy(acc, out, sizeof acc);
            for (int64_t k = 0; k < kb; k++) {
                uint16_t x[32], w[16][32];
                memcpy(x, tile_row(a, r, k), sizeof x);
                memcpy(w, b + (size_t)p * b_panel + (size_t)k * TILE_BYTES, sizeof w);
                for (int i = 0; i < 16; i++) {
                    const float x0 = bf16_to_f32(x[2 * i]), x1 = bf16_to_f32(x[2 * i + 1]);
                    for (int l = 0; l < 16; l++)
                        acc[l] += x0 * bf16_to_f32(w[i][2 * l]) + x1 * bf16_to_f32(w[i][2 * l + 1]);
                }
            }
            memcpy(out, acc, sizeof acc);
        }
}

static void product_f32(float *c, int64_t ldc, const struct tiles *a, const unsigned char *b, size_t b_panel,
                        int m, int np, int64_t kb, bool add)
{
    for (int r = 0; r < m; r++)
        for (int p = 0; p < np; p++) {
            float *out = c + r * ldc + (int64_t)p * 16, acc[16] = { 0 };
            if (add) memcpy(acc, out, sizeof acc);
            for (int64_t k = 0; k < kb; k++) {
                float x[16], w[16][16];
                memcpy(x, tile_row(a, r, k), sizeof x);
                memcpy(w, b + (size_t)p * b_panel + (size_t)k * TILE_BYTES, sizeof w);
                for (int i = 0; i < 16; i++)
                    for (int l = 0; l < 16; l++) acc[l] += x[i] * w[i][l];
            }
            memcpy(out, acc, sizeof acc);
        }
}

static void product_f16(float *c, int64_t ldc, const struct tiles *a, const unsigned char *b, size_t b_panel,
                        int m, int np, int64_t kb, bool add)
{
    for (int p = 0; p < np; p++)
        for (int64_t k = 0; k < kb; k++) {
            uint16_t h[16][16];
            float w[16][16];
            memcpy(h, b + (size_t)p * b_panel + (size_t)k * (TILE_BYTES / 2), sizeof h);
            for (int i = 0; i < 16; i++) /* once for all rows */
                for (int l = 0; l < 16; l++) w[i][l] = body_f16(h[i][l]);
            for (int r = 0; r < m; r++) {
                float *out = c + r * ldc + (int64_t)p * 16, acc[16] = { 0 }, x[16];
                if (add || k > 0) memcpy(acc, out, sizeof acc);
                memcpy(x, tile_row(a, r, k), sizeof x);
                for (int i = 0; i < 16; i++)
                    for (int l = 0; l < 16; l++) acc[l] += x[i] * w[i][l];
                memcpy(out, acc, sizeof acc);
            }
        }
}

static const struct float_kern float_kern_c = { FLOAT_BODY_TABLE,
                                                FLOAT_BODY_PACKING,
                                                .name = "c",
                                                .kb_chunk = 8,
                                                .product_bf16 = product_bf16,
                                                .product_f32 = product_f32,
                                                .product_f16 = product_f16 };

const struct float_kern *float_kern_pick(unsigned isa)
{
#if defined(__x86_64__)
    if (isa & ISA_AMX) return &float_kern_amx;
    if (isa & ISA_AVX512BF16) return &float_kern_avx512bf16;
    if (isa & ISA_AVX512) return &float_kern_avx512;
    if (isa & ISA_AVX2) return &float_kern_avx2;
#elif defined(__aarch64__)
    if (isa & ISA_ARMBF16) return &float_kern_armbf16;
    if (isa & ISA_NEON) return &float_kern_neon;
#endif
    (void)isa;
    return &float_kern_c;
}
