/* Float kernels for AVX2 and FMA: 4 rows by one panel (two registers) at a time. bf16 is widened to f32 on the way. */
#include "device/cpu/float_body.h"

#include <immintrin.h>

static inline const unsigned char *tile_row(const struct tiles *a, int r, int64_t kb)
{
    return a->tile[r / 16] + r % 16 * a->row + (a->k_off ? a->k_off[kb] : (ptrdiff_t)kb * TILE_BYTES);
}

static inline __attribute__((always_inline)) float low_half(const unsigned char *p)
{
    uint32_t u;
    memcpy(&u, p, sizeof u);
    return fmath_bits(u << 16);
}

static inline __attribute__((always_inline)) float high_half(const unsigned char *p)
{
    uint32_t u;
    memcpy(&u, p, sizeof u);
    return fmath_bits(u & 0xffff0000u);
}

static inline __attribute__((always_inline)) void bf16_rows(float *c, int64_t ldc, const struct tiles *a,
                                                            int r0, const unsigned char *b, int64_t kb,
                                                            bool add, const int n)
{
    __m256 acc[4][2];
    for (int r = 0; r < n; r++)
        for (int h = 0; h < 2; h++)
            acc[r][h] = add ? _mm256_loadu_ps(c + r * ldc + h * 8) : _mm256_setzero_ps();
    const __m256i mask = _mm256_set1_epi32((int)0xffff0000u);
    for (int64_t k = 0; k < kb; k++, b += TILE_BYTES) {
        const unsigned char *x = tile_row(a, r0, k);
        for (int i = 0; i < 16; i++) {
            const __m256i w0 = _mm256_loadu_si256((const __m256i *)(b + i * 64));
            const __m256i w1 = _mm256_loadu_si256((const __m256i *)(b + i * 64 + 32));
            const __m256 even0 = _mm256_castsi256_ps(_mm256_slli_epi32(w0, 16));
            const __m256 even1 = _mm256_castsi256_ps(_mm256_slli_epi32(w1, 16));
            const __m256 odd0 = _mm256_castsi256_ps(_mm256_and_si256(w0, mask));
            const __m256 odd1 = _mm256_castsi256_ps(_mm256_and_si256(w1, mask));
            for (int r = 0; r < n; r++) {
                const __m256 xe = _mm256_set1_ps(low_half(x + r * a->row + i * 4));
                const __m256 xo = _mm256_set1_ps(high_half(x + r * a->row + i * 4));
                acc[r][0] = _mm256_fmadd_ps(xo, odd0, _mm256_fmadd_ps(xe, even0, acc[r][0]));
                acc[r][1] = _mm256_fmadd_ps(xo, odd1, _mm256_fmadd_ps(xe, even1, acc[r][1]));
            }
        }
    }
    for (int r = 0; r < n; r++)
        for (int h = 0; h < 2; h++) _mm256_storeu_ps(c + r * ldc + h * 8, acc[r][h]);
}

static inline __attribute__((always_inline)) void f32_rows(float *c, int64_t ldc, const struct tiles *a,
                                                           int r0, const unsigned char *b, int64_t kb,
                                                           bool add, const int n)
{
    __m256 acc[4][2];
    for (int r = 0; r < n; r++)
        for (int h = 0; h < 2; h++)
            acc[r][h] = add ? _mm256_loadu_ps(c + r * ldc + h * 8) : _mm256_setzero_ps();
    for (int64_t k = 0; k < kb; k++, b += TILE_BYTES) {
        const unsigned char *x = tile_row(a, r0, k);
        for (int i = 0; i < 16; i++) {
            const __m256 w0 = _mm256_loadu_ps((const float *)(const void *)(b + i * 64));
            const __m256 w1 = _mm256_loadu_ps((const float *)(const void *)(b + i * 64 + 32));
            for (int r = 0; r < n; r++) {
                const __m256 v = _mm256_broadcast_ss((const float *)(const void *)(x + r * a->row + i * 4));
                acc[r][0] = _mm256_fmadd_ps(v, w0, acc[r][0]);
                acc[r][1] = _mm256_fmadd_ps(v, w1, acc[r][1]);
            }
        }
    }
    for (int r = 0; r < n; r++)
        for (int h = 0; h < 2; h++) _mm256_storeu_ps(c + r * ldc + h * 8, acc[r][h]);
}

static inline __attribute__((always_inline)) void f16_rows(float *c, int64_t ldc, const struct tiles *a,
                                                           int r0, const unsigned char *b, int64_t kb,
                                                           bool add, const int n)
{
    __m256 acc[4][2];
    for (int r = 0; r < n; r++)
        for (int h = 0; h < 2; h++)
            acc[r][h] = add ? _mm256_loadu_ps(c + r * ldc + h * 8) : _mm256_setzero_ps();
    for (int64_t k = 0; k < kb; k++, b += TILE_BYTES / 2) {
        const unsigned char *x = tile_row(a, r0, k);
        for (int i = 0; i < 16; i++) {
            const __m256 w0 = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(b + i * 32)));
            const __m256 w1 =
                _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(b + i * 32 + 16)));
            for (int r = 0; r < n; r++) {
                const __m256 v = _mm256_broadcast_ss((const float *)(const void *)(x + r * a->row + i * 4));
                acc[r][0] = _mm256_fmadd_ps(v, w0, acc[r][0]);
                acc[r][1] = _mm256_fmadd_ps(v, w1, acc[r][1]);
            }
        }
    }
    for (int r = 0; r < n; r++)
        for (int h = 0; h < 2; h++) _mm256_storeu_ps(c + r * ldc + h * 8, acc[r][h]);
}

#define PRODUCT(NAME, ROWS)                                                                                  \
    static void NAME(float *c, int64_t ldc, const struct tiles *a, const unsigned char *b, size_t b_panel,   \
                     int m, int np, int64_t kb, bool add)                                                    \
    {                                                                                                        \
        for (int p = 0; p < np; p++, b += b_panel, c += 16) {                                                \
            int r = 0;                                                                                       \
            for (; r + 4 <= m; r += 4) ROWS(c + r * ldc, ldc, a, r, b, kb, add, 4);                          \
            for (; r < m; r++) ROWS(c + r * ldc, ldc, a, r, b, kb, add, 1);                                  \
        }                                                                                                    \
    }
PRODUCT(product_bf16, bf16_rows)
PRODUCT(product_f32, f32_rows)
PRODUCT(product_f16, f16_rows)

const struct float_kern float_kern_avx2 = { FLOAT_BODY_TABLE,
                                            FLOAT_BODY_PACKING,
                                            .name = "avx2",
                                            .kb_chunk = 16,
                                            .product_bf16 = product_bf16,
                                            .product_f32 = product_f32,
                                            .product_f16 = product_f16 };
