/* Float kernels for AVX2 and FMA. bf16 and f16 are widened to f32 on the way, exactly.
 *
 * Many rows  are taken DEEP values of k by LOT rows at a time: their part of A as f32 rows, then panel after panel of B, widened once
 *            for all rows of the lot, so that the loop over k is broadcasts and products alone. Six rows by one panel (two
 *            registers) are twelve sums, which with a row of B and a value of A leave no register idle and none over.
 * Few rows   wait for memory. They read B as it stands, several panels at a time, so that there are sums enough to hide the latency of
 *            a product that adds to the one before. */
#include "device/cpu/float_body.h"

#include <immintrin.h>

#include "device/cpu/pack_256.h"

#define INLINE static inline __attribute__((always_inline))

#define GROUP 6            /* rows of a register tile */
#define LOT (8 * GROUP)    /* rows that share a widened panel */
#define DEEP 256           /* values of k: a panel of so many is 16 KiB, half of the smallest first cache */
#define LD_LOT (DEEP + 16) /* no power of two, so that rows spread over the sets of the cache */
#define FEW 3              /* rows */
#define AHEAD 1024         /* bytes */

INLINE const unsigned char *k_block(const struct tiles *a, int r, int64_t kb)
{
    return a->tile[r / 16] + r % 16 * a->row + (a->k_off ? a->k_off[kb] : (ptrdiff_t)kb * TILE_BYTES);
}

INLINE __m256 low_halves(__m256i pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
INLINE __m256 high_halves(__m256i pairs)
{
    return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000u)));
}
INLINE __m256i load256(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
INLINE __m256 widen_f16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }

/* ---- many rows ----------------------------------------------------------------------------------------------- */

/* C[rows, 16] (+)= x w, x [rows, n] with LD_LOT floats a row, w [n, 16]; n is even. ahead (NULL: nothing): n * 32 bytes to be fetched. */
INLINE void tile_of(const int rows, float *c, int64_t ldc, const float *x, const float *w, int n, bool add,
                    const unsigned char *ahead)
{
    __m256 sum[GROUP][2];
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < 2; h++)
            sum[r][h] = add ? _mm256_loadu_ps(c + r * ldc + h * 8) : _mm256_setzero_ps();
    for (int k = 0; k < n; k += 2, x += 2, w += 32) {
        if (ahead) _mm_prefetch((const char *)ahead + k * 32, _MM_HINT_T0);
        for (int i = 0; i < 2; i++) {
            const __m256 w0 = _mm256_loadu_ps(w + i * 16), w1 = _mm256_loadu_ps(w + i * 16 + 8);
            for (int r = 0; r < rows; r++) {
                const __m256 v = _mm256_broadcast_ss(x + r * LD_LOT + i);
                sum[r][0] = _mm256_fmadd_ps(v, w0, sum[r][0]);
                sum[r][1] = _mm256_fmadd_ps(v, w1, sum[r][1]);
            }
        }
    }
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < 2; h++) _mm256_storeu_ps(c + r * ldc + h * 8, sum[r][h]);
}

static void tile(int rows, float *c, int64_t ldc, const float *x, const float *w, int n, bool add,
                 const unsigned char *ahead)
{
    switch (rows) {
    case 1: tile_of(1, c, ldc, x, w, n, add, ahead); return;
    case 2: tile_of(2, c, ldc, x, w, n, add, ahead); return;
    case 3: tile_of(3, c, ldc, x, w, n, add, ahead); return;
    case 4: tile_of(4, c, ldc, x, w, n, add, ahead); return;
    case 5: tile_of(5, c, ldc, x, w, n, add, ahead); return;
    default: tile_of(GROUP, c, ldc, x, w, n, add, ahead); return;
    }
}

/* k blocks [k0, k1) of a row of A as f32. */
INLINE void widen_row(const enum float_form form, float *x, const struct tiles *a, int r, int64_t k0,
                      int64_t k1)
{
    for (int64_t k = k0; k < k1; k++, x += form_k(form)) {
        const unsigned char *from = k_block(a, r, k);
        for (int i = 0; i < form_k(form); i += 8)
            _mm256_storeu_ps(x + i, form == FORM_BF16
                                        ? _mm256_castsi256_ps(_mm256_slli_epi32(
                                              _mm256_cvtepu16_epi32(_mm_loadu_si128(
                                                  (const __m128i *)(const void *)(from + i * 2))),
                                              16))
                                        : _mm256_loadu_ps((const float *)(const void *)(from + i * 4)));
    }
}

/* n values of k of a panel as f32 [n, 16]. */
INLINE void widen_panel(const enum float_form form, float *w, const unsigned char *b, int n)
{
    if (form == FORM_BF16)
        for (int k = 0; k < n; k += 2, b += 64, w += 32) {
            const __m256i p0 = load256(b), p1 = load256(b + 32);
            _mm256_store_ps(w, low_halves(p0));
            _mm256_store_ps(w + 8, low_halves(p1));
            _mm256_store_ps(w + 16, high_halves(p0));
            _mm256_store_ps(w + 24, high_halves(p1));
        }
    else
        for (int k = 0; k < n; k++, b += 32, w += 16) {
            _mm256_store_ps(w, widen_f16(b));
            _mm256_store_ps(w + 8, widen_f16(b + 16));
        }
}

/* The k blocks of one step for one lot of rows. */
INLINE void lot_product(const enum float_form form, float *c, int64_t ldc, const struct tiles *a, int r0,
                        int m, const unsigned char *b, size_t b_panel, int np, int64_t k0, int64_t k1,
                        bool add)
{
    _Alignas(64) float x[LOT * LD_LOT], wide[DEEP * 16];
    const int n = (int)(k1 - k0) * form_k(form), groups = (m + GROUP - 1) / GROUP;
    const size_t bytes = (size_t)(k1 - k0) * form_tile(form);
    for (int r = 0; r < m; r++) widen_row(form, x + r * LD_LOT, a, r0 + r, k0, k1);
    b += (size_t)k0 * form_tile(form);
    for (int p = 0; p < np; p++, b += b_panel, c += 16) {
        const float *w = (const float *)(const void *)b;
        if (form != FORM_F32) {
            widen_panel(form, wide, b, n);
            w = wide;
        }
        for (int g = 0; g < groups; g++) {
            const int at = m * g / groups, rows = m * (g + 1) / groups - at;
            /* The first rows fetch the next panel, or what there is of it. */
            const unsigned char *ahead = p + 1 < np && (size_t)(g + 1) * (size_t)n * 32 <= bytes
                                             ? b + b_panel + (size_t)g * (size_t)n * 32
                                             : NULL;
            tile(rows, c + at * ldc, ldc, x + at * LD_LOT, w, n, add, ahead);
        }
    }
}

/* ---- few rows ------------------------------------------------------------------------------------------------ */

INLINE void few_of(const enum float_form form, const int rows, const int panels, float *c, int64_t ldc,
                   const struct tiles *a, int r0, const unsigned char *b, size_t b_panel, int64_t kb,
                   bool add)
{
    __m256 sum[FEW][8];
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < 2 * panels; h++)
            sum[r][h] = add ? _mm256_loadu_ps(c + r * ldc + h * 8) : _mm256_setzero_ps();
    for (int64_t k = 0; k < kb; k++, b += form_tile(form)) {
        const unsigned char *x = k_block(a, r0, k);
        for (int i = 0; i < 16; i++) {
            const size_t at = (size_t)i * (form_tile(form) / 16);
            __m256 low[FEW], high[FEW];
            for (int r = 0; r < rows; r++) {
                low[r] = _mm256_broadcast_ss((const float *)(const void *)(x + r * a->row + i * 4));
                if (form != FORM_BF16) continue;
                high[r] = high_halves(_mm256_castps_si256(low[r]));
                low[r] = low_halves(_mm256_castps_si256(low[r]));
            }
            for (int h = 0; h < 2 * panels; h++) {
                const unsigned char *w = b + (size_t)(h / 2) * b_panel + at;
                if (form == FORM_BF16) {
                    if (h % 2 == 0) _mm_prefetch((const char *)w + AHEAD, _MM_HINT_T0);
                    const __m256i pairs = load256(w + h % 2 * 32);
                    const __m256 even = low_halves(pairs), odd = high_halves(pairs);
                    for (int r = 0; r < rows; r++)
                        sum[r][h] = _mm256_fmadd_ps(high[r], odd, _mm256_fmadd_ps(low[r], even, sum[r][h]));
                } else {
                    if (h % 2 == 0 && (form == FORM_F32 || i % 2 == 0))
                        _mm_prefetch((const char *)w + AHEAD, _MM_HINT_T0);
                    const __m256 v = form == FORM_F16
                                         ? widen_f16(w + h % 2 * 16)
                                         : _mm256_loadu_ps((const float *)(const void *)(w + h % 2 * 32));
                    for (int r = 0; r < rows; r++) sum[r][h] = _mm256_fmadd_ps(low[r], v, sum[r][h]);
                }
            }
        }
    }
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < 2 * panels; h++) _mm256_storeu_ps(c + r * ldc + h * 8, sum[r][h]);
}

#define FEW_PANELS(ROWS, PANELS)                                                                             \
    for (; np >= PANELS; np -= PANELS, b += PANELS * b_panel, c += PANELS * 16)                              \
    few_of(form, ROWS, PANELS, c, ldc, a, r0, b, b_panel, kb, add)

INLINE void few_rows(const enum float_form form, float *c, int64_t ldc, const struct tiles *a, int r0, int m,
                     const unsigned char *b, size_t b_panel, int np, int64_t kb, bool add)
{
    switch (m) {
    case 1:
        FEW_PANELS(1, 4);
        FEW_PANELS(1, 2);
        FEW_PANELS(1, 1);
        return;
    case 2:
        FEW_PANELS(2, 2);
        FEW_PANELS(2, 1);
        return;
    default: FEW_PANELS(3, 1); return;
    }
}

INLINE void product(const enum float_form form, float *c, int64_t ldc, const struct tiles *a,
                    const unsigned char *b, size_t b_panel, int m, int np, int64_t kb, bool add)
{
    if (m <= FEW) {
        few_rows(form, c, ldc, a, 0, m, b, b_panel, np, kb, add);
        return;
    }
    const int64_t step = DEEP / form_k(form);
    for (int64_t k = 0; k < kb; k += step) {
        const int64_t end = kb - k < step ? kb : k + step;
        for (int r = 0; r < m; r += LOT)
            lot_product(form, c + r * ldc, ldc, a, r, m - r < LOT ? m - r : LOT, b, b_panel, np, k, end,
                        add || k > 0);
    }
}

static void product_bf16(float *c, int64_t ldc, const struct tiles *a, const unsigned char *b, size_t b_panel,
                         int m, int np, int64_t kb, bool add)
{
    product(FORM_BF16, c, ldc, a, b, b_panel, m, np, kb, add);
}
static void product_f32(float *c, int64_t ldc, const struct tiles *a, const unsigned char *b, size_t b_panel,
                        int m, int np, int64_t kb, bool add)
{
    product(FORM_F32, c, ldc, a, b, b_panel, m, np, kb, add);
}
static void product_f16(float *c, int64_t ldc, const struct tiles *a, const unsigned char *b, size_t b_panel,
                        int m, int np, int64_t kb, bool add)
{
    product(FORM_F16, c, ldc, a, b, b_panel, m, np, kb, add);
}

const struct float_kern float_kern_avx2 = { FLOAT_BODY_TABLE,
                                            .store_far = body_store_far,
                                            .pack_row_bf16 = body_pack_row_bf16,
                                            .softmax_bf16 = body_softmax_bf16,
                                            .pack_panel_bf16 = pack_panel_bf16,
                                            .pack_panel_f32 = pack_panel_f32,
                                            .pack_panel_f16 = pack_panel_f16,
                                            .pack_b_bf16 = body_pack_b_bf16,
                                            .pack_row_f16 = body_pack_row_f32,
                                            .name = "avx2",
                                            .kb_chunk = 16,
                                            .product_bf16 = product_bf16,
                                            .product_f32 = product_f32,
                                            .product_f16 = product_f16 };
