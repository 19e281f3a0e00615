/* gemm_512.h - what the three AVX-512 files of the float kernels share: packing, and the f32 product. Static; included
 * once by each after it has defined
 *   static inline __m512i to_bf16(__m512 lo, __m512 hi);   32 values rounded to nearest even */
#ifndef HEARTH_DEVICE_CPU_GEMM_512_H
#define HEARTH_DEVICE_CPU_GEMM_512_H

#define INLINE static inline __attribute__((always_inline))

/* The register tile: 8 rows by 3 panels, 24 sums, 3 registers of B and one of A. */
#define REG_ROWS 8
#define REG_PANELS 3

INLINE __m512 widen_low(__m512i h) { return _mm512_castsi512_ps(_mm512_slli_epi32(h, 16)); }
INLINE __m512 widen_high(__m512i h)
{
    return _mm512_castsi512_ps(_mm512_and_si512(h, _mm512_set1_epi32((int)0xffff0000u)));
}

/* Rows become columns: dword j of v[i] becomes dword i of v[j]. */
INLINE void transpose(__m512i v[16])
{
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        v[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        v[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        v[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        v[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        v[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        v[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        v[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        v[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

/* 32 e4m3 values as bf16, exactly: the exponent's bias moves by 120; the seven subnormals come from a table. */
INLINE __m512i e4m3_to_bf16(__m256i b)
{
    const __m512i w = _mm512_cvtepu8_epi16(b), mag = _mm512_and_si512(w, _mm512_set1_epi16(0x7f));
    const __m512i sign = _mm512_slli_epi16(_mm512_and_si512(w, _mm512_set1_epi16(0x80)), 8);
    const __m512i small =
        _mm512_castsi128_si512(_mm_setr_epi16(0, 0x3b00, 0x3b80, 0x3bc0, 0x3c00, 0x3c20, 0x3c40, 0x3c60));
    __m512i v = _mm512_add_epi16(_mm512_slli_epi16(mag, 4), _mm512_set1_epi16(0x3c00));
    v = _mm512_mask_permutexvar_epi16(v, _mm512_cmplt_epu16_mask(mag, _mm512_set1_epi16(8)), mag, small);
    v = _mm512_mask_mov_epi16(v, _mm512_cmpeq_epi16_mask(mag, _mm512_set1_epi16(0x7f)),
                              _mm512_set1_epi16(0x7fc0));
    return _mm512_or_si512(v, sign);
}

/* Values [i, i+32) of a row, those from n on zero, as bf16. */
INLINE __m512i load_bf16(const unsigned char *row, enum dtype type, int64_t i, int64_t n)
{
    const __mmask32 m = n - i >= 32 ? 0xffffffffu : (1u << (n - i)) - 1;
    switch (type) {
    case DT_BF16: return _mm512_maskz_loadu_epi16(m, row + i * 2);
    case DT_F16: {
        const __m512i h = _mm512_maskz_loadu_epi16(m, row + i * 2);
        return to_bf16(_mm512_cvtph_ps(_mm512_castsi512_si256(h)),
                       _mm512_cvtph_ps(_mm512_extracti64x4_epi64(h, 1)));
    }
    case DT_F8_E4M3: return e4m3_to_bf16(_mm256_maskz_loadu_epi8(m, row + i));
    case DT_F8_E5M2: { /* the upper byte of a half */
        const __m512i h = _mm512_slli_epi16(_mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(m, row + i)), 8);
        return to_bf16(_mm512_cvtph_ps(_mm512_castsi512_si256(h)),
                       _mm512_cvtph_ps(_mm512_extracti64x4_epi64(h, 1)));
    }
    default:
        return to_bf16(_mm512_maskz_loadu_ps((__mmask16)m, row + i * 4),
                       _mm512_maskz_loadu_ps((__mmask16)(m >> 16), row + i * 4 + 64));
    }
}

INLINE void panel_of_type(unsigned char *dst, const unsigned char *const row[16], enum dtype type, int64_t n)
{
    for (int64_t i = 0; i < n; i += 32, dst += TILE_BYTES) {
        __m512i v[16];
        for (int c = 0; c < 16; c++) v[c] = load_bf16(row[c], type, i, n);
        transpose(v);
        for (int c = 0; c < 16; c++) _mm512_storeu_si512(dst + c * 64, v[c]);
    }
}

static void pack_panel_bf16(unsigned char *dst, const unsigned char *const row[16], enum dtype type,
                            int64_t n)
{
    switch (type) { /* a loop of its own for each type, so that none is chosen inside */
    case DT_BF16: panel_of_type(dst, row, DT_BF16, n); return;
    case DT_F16: panel_of_type(dst, row, DT_F16, n); return;
    case DT_F8_E4M3: panel_of_type(dst, row, DT_F8_E4M3, n); return;
    case DT_F8_E5M2: panel_of_type(dst, row, DT_F8_E5M2, n); return;
    default: panel_of_type(dst, row, DT_F32, n); return;
    }
}

static void pack_panel_f32(unsigned char *dst, const unsigned char *const row[16], enum dtype type, int64_t n)
{
    if (type != DT_F32) {
        body_pack_panel_f32(dst, row, type, n);
        return;
    }
    for (int64_t i = 0; i < n; i += 16, dst += TILE_BYTES) {
        const __mmask16 m = n - i >= 16 ? 0xffff : (__mmask16)((1u << (n - i)) - 1);
        __m512i v[16];
        for (int c = 0; c < 16; c++) v[c] = _mm512_maskz_loadu_epi32(m, row[c] + i * 4);
        transpose(v);
        for (int c = 0; c < 16; c++) _mm512_storeu_si512(dst + c * 64, v[c]);
    }
}

static void pack_panel_f16(unsigned char *dst, const unsigned char *const row[16], enum dtype type, int64_t n)
{
    /* [16 columns][2 k] to [2 k][16 columns] */
    const __m512i apart = _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1, 30, 28,
                                           26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    for (int64_t i = 0; i < n; i += 32, dst += TILE_BYTES) {
        const __mmask32 m = n - i >= 32 ? 0xffffffffu : (1u << (n - i)) - 1;
        __m512i v[16];
        for (int c = 0; c < 16; c++) {
            if (type == DT_F16) {
                v[c] = _mm512_maskz_loadu_epi16(m, row[c] + i * 2);
                continue;
            }
            const __m512 lo = _mm512_maskz_loadu_ps((__mmask16)m, row[c] + i * 4),
                         hi = _mm512_maskz_loadu_ps((__mmask16)(m >> 16), row[c] + i * 4 + 64);
            v[c] = _mm512_inserti64x4(
                _mm512_castsi256_si512(_mm512_cvtps_ph(lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)),
                _mm512_cvtps_ph(hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), 1);
        }
        transpose(v);
        for (int c = 0; c < (n - i > 16 ? 16 : 8); c++)
            _mm512_storeu_si512(dst + c * 64, _mm512_permutexvar_epi16(apart, v[c]));
    }
}

static void pack_b_bf16(unsigned char *dst, size_t b_panel, const float *x, int64_t ldx, int n_k, int n)
{
    const __m512i pairs = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23,
                                           7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const int nk_padded = (n_k + 31) / 32 * 32;
    for (int j = 0; j < n; j += 16, dst += b_panel) {
        const __mmask16 m = n - j >= 16 ? 0xffff : (__mmask16)((1u << (n - j)) - 1);
        for (int k = 0; k < nk_padded; k += 2) {
            const __m512 a = k < n_k ? _mm512_maskz_loadu_ps(m, x + k * ldx + j) : _mm512_setzero_ps();
            const __m512 b =
                k + 1 < n_k ? _mm512_maskz_loadu_ps(m, x + (k + 1) * ldx + j) : _mm512_setzero_ps();
            _mm512_storeu_si512(dst + k / 2 * 64, _mm512_permutexvar_epi16(pairs, to_bf16(a, b)));
        }
    }
}

/* ---- register tiles ------------------------------------------------------------------------------------------ */

INLINE const unsigned char *k_block(const struct tiles *a, int r, ptrdiff_t row, int64_t kb)
{
    return a->tile[r / 16] + r % 16 * row + (a->k_off ? a->k_off[kb] : (ptrdiff_t)kb * TILE_BYTES);
}

INLINE void load_sums(__m512 acc[REG_ROWS][REG_PANELS], const float *c, int64_t ldc, bool add, int rows,
                      int panels)
{
    for (int r = 0; r < rows; r++)
        for (int p = 0; p < panels; p++)
            acc[r][p] = add ? _mm512_loadu_ps(c + r * ldc + p * 16) : _mm512_setzero_ps();
}

INLINE void store_sums(float *c, int64_t ldc, __m512 acc[REG_ROWS][REG_PANELS], int rows, int panels)
{
    for (int r = 0; r < rows; r++)
        for (int p = 0; p < panels; p++) _mm512_storeu_ps(c + r * ldc + p * 16, acc[r][p]);
}

INLINE void f32_tile(float *c, int64_t ldc, const struct tiles *a, int r0, ptrdiff_t row,
                     const unsigned char *b, size_t b_panel, int64_t kb, bool add, const int rows,
                     const int panels)
{
    __m512 acc[REG_ROWS][REG_PANELS];
    load_sums(acc, c, ldc, add, rows, panels);
    for (int64_t k = 0; k < kb; k++, b += TILE_BYTES) {
        const unsigned char *x = k_block(a, r0, row, k);
        for (int i = 0; i < 16; i++) {
            __m512 w[REG_PANELS];
            for (int p = 0; p < panels; p++) w[p] = _mm512_loadu_ps(b + (size_t)p * b_panel + i * 64);
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

/* A product out of register tiles: rows by eights, fours, twos and ones, panels by threes, twos and ones. TILE(..., rows, panels)
 * is inlined with constants; so is the usual distance of two rows. */
#define PRODUCT_ROWS(TILE, PANELS)                                                                           \
    do {                                                                                                     \
        int r = 0;                                                                                           \
        if (a->row == TILE_ROW_BYTES)                                                                        \
            for (; r + 8 <= m; r += 8)                                                                       \
                TILE(c + r * ldc, ldc, a, r, TILE_ROW_BYTES, b, b_panel, kb, add, 8, PANELS);                \
        for (; r + 8 <= m; r += 8) TILE(c + r * ldc, ldc, a, r, a->row, b, b_panel, kb, add, 8, PANELS);     \
        for (; r + 4 <= m; r += 4) TILE(c + r * ldc, ldc, a, r, a->row, b, b_panel, kb, add, 4, PANELS);     \
        for (; r + 2 <= m; r += 2) TILE(c + r * ldc, ldc, a, r, a->row, b, b_panel, kb, add, 2, PANELS);     \
        for (; r < m; r++) TILE(c + r * ldc, ldc, a, r, a->row, b, b_panel, kb, add, 1, PANELS);             \
    } while (0)

#define PRODUCT(NAME, TILE)                                                                                  \
    static void NAME(float *c, int64_t ldc, const struct tiles *a, const unsigned char *b, size_t b_panel,   \
                     int m, int np, int64_t kb, bool add)                                                    \
    {                                                                                                        \
        for (; np >= 5 || np == 3; np -= 3, b += 3 * b_panel, c += 48) PRODUCT_ROWS(TILE, 3);                \
        for (; np >= 2; np -= 2, b += 2 * b_panel, c += 32) PRODUCT_ROWS(TILE, 2);                           \
        if (np) PRODUCT_ROWS(TILE, 1);                                                                       \
    }

PRODUCT(product_f32, f32_tile)

#define FLOAT_512_TABLE                                                                                      \
    .pack_panel_bf16 = pack_panel_bf16, .pack_panel_f32 = pack_panel_f32, .pack_b_bf16 = pack_b_bf16,        \
    .pack_panel_f16 = pack_panel_f16, .product_f32 = product_f32

#endif
