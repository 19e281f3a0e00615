/* Float kernels for AMX: bf16 products on the tile registers, all else as with AVX-512. */
#include "device/cpu/float_body.h"

#include <immintrin.h>

static inline __attribute__((always_inline)) __m512i to_bf16(__m512 lo, __m512 hi)
{
    return (__m512i)_mm512_cvtne2ps_pbh(hi, lo);
}

#include "device/cpu/gemm_512.h"
#include "device/cpu/rows_512.h"

/* Tile registers are always 16 rows of 64 bytes: 0-3 sums, 4-5 rows of A, 6-7 panels of B; for few rows 4 is A and
 * 5-7 are B in turn. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* In memory for good: compilers do not see that the instruction reads more than a pointer's worth of it. */
static const struct tile_config whole_tiles = { .palette = 1,
                                                .row_bytes = { 64, 64, 64, 64, 64, 64, 64, 64 },
                                                .rows = { 16, 16, 16, 16, 16, 16, 16, 16 } };

/* 16 rows by up to 4 panels: A is read once for all of them. Bound by the memory that B comes from. */
INLINE void tile_1(float *c, int64_t ldc, const struct tiles *a, int i, const unsigned char *b,
                   size_t b_panel, int64_t kb, bool add, const int panels)
{
    const size_t ld = (size_t)ldc * sizeof *c;
    if (add) {
        _tile_loadd(0, c, ld);
        if (panels > 1) _tile_loadd(1, c + 16, ld);
        if (panels > 2) _tile_loadd(2, c + 32, ld);
        if (panels > 3) _tile_loadd(3, c + 48, ld);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    const unsigned char *x = a->tile[i];
    for (int64_t k = 0; k < kb; k++, b += TILE_BYTES) {
        _tile_loadd(4, x + (a->k_off ? a->k_off[k] : (ptrdiff_t)k * TILE_BYTES), a->row);
        _tile_loadd(5, b, 64);
        _tile_dpbf16ps(0, 4, 5);
        if (panels > 1) {
            _tile_loadd(6, b + b_panel, 64);
            _tile_dpbf16ps(1, 4, 6);
        }
        if (panels > 2) {
            _tile_loadd(7, b + 2 * b_panel, 64);
            _tile_dpbf16ps(2, 4, 7);
        }
        if (panels > 3) {
            _tile_loadd(5, b + 3 * b_panel, 64);
            _tile_dpbf16ps(3, 4, 5);
        }
    }
    _tile_stored(0, c, ld);
    if (panels > 1) _tile_stored(1, c + 16, ld);
    if (panels > 2) _tile_stored(2, c + 32, ld);
    if (panels > 3) _tile_stored(3, c + 48, ld);
}

/* What a register tile asks of the slower caches for the next chunk of k, so that it is near when its turn comes: a piece
 * of each panel of B, and of its rows of A where those follow on. */
struct ahead {
    ptrdiff_t b, a;       /* bytes from the present k block */
    int b_lines, a_lines; /* lines a k block */
};

INLINE void fetch(const unsigned char *p, int lines)
{
    for (int i = 0; i < lines; i++) _mm_prefetch((const char *)p + i * 64, _MM_HINT_T1);
}

/* 32 rows by 1 or 2 panels: two loads for each two products, the most that eight tile registers allow. */
INLINE void tile_2(float *c, int64_t ldc, const struct tiles *a, int i, const unsigned char *b,
                   size_t b_panel, int64_t kb, bool add, const int panels, const struct ahead *next)
{
    const size_t ld = (size_t)ldc * sizeof *c;
    float *c1 = c + 16 * ldc;
    if (add) {
        _tile_loadd(0, c, ld);
        _tile_loadd(1, c1, ld);
        if (panels > 1) {
            _tile_loadd(2, c + 16, ld);
            _tile_loadd(3, c1 + 16, ld);
        }
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    const unsigned char *x0 = a->tile[i], *x1 = a->tile[i + 1];
    for (int64_t k = 0; k < kb; k++, b += TILE_BYTES) {
        const ptrdiff_t off = a->k_off ? a->k_off[k] : (ptrdiff_t)k * TILE_BYTES;
        fetch(b + next->b + k * (next->b_lines * 64 - TILE_BYTES), next->b_lines);
        if (panels > 1) fetch(b + b_panel + next->b + k * (next->b_lines * 64 - TILE_BYTES), next->b_lines);
        fetch(x0 + next->a + k * next->a_lines * 64, next->a_lines);
        fetch(x1 + next->a + k * next->a_lines * 64, next->a_lines);
        _tile_loadd(6, b, 64);
        _tile_loadd(4, x0 + off, a->row);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(5, x1 + off, a->row);
        _tile_dpbf16ps(1, 5, 6);
        if (panels > 1) {
            _tile_loadd(7, b + b_panel, 64);
            _tile_dpbf16ps(2, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, c, ld);
    _tile_stored(1, c1, ld);
    if (panels > 1) {
        _tile_stored(2, c + 16, ld);
        _tile_stored(3, c1 + 16, ld);
    }
}

static void product_bf16(float *c, int64_t ldc, const struct tiles *a, const unsigned char *b, size_t b_panel,
                         int m, int np, int64_t kb, bool add)
{
    const int n_tiles = (m + 15) / 16;
    _tile_loadconfig(&whole_tiles);
    if (n_tiles == 1) {
        int p = 0;
        for (; p + 4 <= np; p += 4)
            tile_1(c + p * 16, ldc, a, 0, b + (size_t)p * b_panel, b_panel, kb, add, 4);
        for (; p < np; p++) tile_1(c + p * 16, ldc, a, 0, b + (size_t)p * b_panel, b_panel, kb, add, 1);
    }
    for (int p = 0; n_tiles > 1 && p < np; p += 2, c += 32, b += 2 * b_panel) {
        const bool two = p + 2 <= np;
        int i = 0;
        for (; i + 2 <= n_tiles; i += 2) {
            struct ahead next = { .a = kb * TILE_BYTES, .b = kb * TILE_BYTES };
            if (n_tiles >= 4) { /* with fewer rows everything is near already, or memory is the limit */
                next.b_lines = (16 + n_tiles / 2 - 1) / (n_tiles / 2);
                next.b += (ptrdiff_t)(i / 2) * kb * next.b_lines * 64;
                if (!a->k_off) next.a_lines = (16 + (np + 1) / 2 - 1) / ((np + 1) / 2);
                next.a += (ptrdiff_t)(p / 2) * kb * next.a_lines * 64;
            }
            if (two)
                tile_2(c + i * 16 * ldc, ldc, a, i, b, b_panel, kb, add, 2, &next);
            else
                tile_2(c + i * 16 * ldc, ldc, a, i, b, b_panel, kb, add, 1, &next);
        }
        if (i < n_tiles) {
            if (two)
                tile_1(c + i * 16 * ldc, ldc, a, i, b, b_panel, kb, add, 2);
            else
                tile_1(c + i * 16 * ldc, ldc, a, i, b, b_panel, kb, add, 1);
        }
    }
    _tile_release();
}

/* ---- f16 ------------------------------------------------------------------------------------------------------
 * A half is the sum of two bf16, exactly, and an activation is one of two to 16 bits. A row of an A tile holds the upper
 * parts of 16 values and then the lower ones; two B tiles hold the upper parts of 16 weights twice, and the lower ones
 * twice: their products' sum has all four terms. */

static void pack_row_f16(unsigned char *dst, ptrdiff_t step, const float *x, int64_t n,
                         const struct row_map *map)
{
    for (int64_t i = 0; i < n; i += 16, dst += step) {
        const __mmask16 m = n - i >= 16 ? 0xffff : (__mmask16)((1u << (n - i)) - 1);
        __m512 v;
        if (map && map->silu) { /* map_16() keeps 13 bits of it */
            float f[16] = { 0 };
            body_map(f, x + i, i, n - i >= 16 ? 16 : (int)(n - i), map);
            v = _mm512_loadu_ps(f);
        } else {
            v = map_16(x, i, m, map);
        }
        const __m256i high = (__m256i)_mm512_cvtneps_pbh(v);
        const __m512 upper = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
        const __m256i low = (__m256i)_mm512_cvtneps_pbh(_mm512_sub_ps(v, upper));
        _mm512_storeu_si512(dst, _mm512_inserti64x4(_mm512_castsi256_si512(high), low, 1));
    }
}

/* One B tile of halves into the two of bf16. */
INLINE void expand_f16(unsigned char *upper, unsigned char *lower, const unsigned char *b)
{
    const __m512i pairs = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23,
                                           7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    for (int i = 0; i < 8; i++) {
        const __m512i h = _mm512_loadu_si512(b + i * 64); /* 16 columns of k = 2 i, and of 2 i + 1 */
        const __m512 k0 = _mm512_cvtph_ps(_mm512_castsi512_si256(h)),
                     k1 = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(h, 1));
        const __m512i up = _mm512_permutexvar_epi16(pairs, to_bf16(k0, k1));
        const __m512i low = _mm512_permutexvar_epi16(
            pairs, to_bf16(_mm512_sub_ps(k0, widen_low(up)), _mm512_sub_ps(k1, widen_high(up))));
        _mm512_storeu_si512(upper + i * 64, up);
        _mm512_storeu_si512(upper + 512 + i * 64, up);
        _mm512_storeu_si512(lower + i * 64, low);
        _mm512_storeu_si512(lower + 512 + i * 64, low);
    }
}

#define EXPANDED 8 /* k blocks that are expanded at a time: 16 KB beside the rows in the first cache */

static void product_f16(float *c, int64_t ldc, const struct tiles *a, const unsigned char *b, size_t b_panel,
                        int m, int np, int64_t kb, bool add)
{
    const int n_tiles = (m + 15) / 16;
    const size_t ld = (size_t)ldc * sizeof *c;
    _Alignas(64) unsigned char upper[EXPANDED][TILE_BYTES], lower[EXPANDED][TILE_BYTES];
    _tile_loadconfig(&whole_tiles);
    for (int p = 0; p < np; p++, c += 16, b += b_panel)
        for (int64_t k0 = 0; k0 < kb; k0 += EXPANDED) {
            const int n = kb - k0 < EXPANDED ? (int)(kb - k0) : EXPANDED;
            for (int k = 0; k < n; k++)
                expand_f16(upper[k], lower[k], b + (size_t)(k0 + k) * (TILE_BYTES / 2));
            for (int i = 0; i < n_tiles; i += 2) {
                float *c0 = c + i * 16 * ldc, *c1 = c0 + 16 * ldc;
                const bool two = i + 1 < n_tiles;
                const unsigned char *x0 = a->tile[i], *x1 = two ? a->tile[i + 1] : NULL;
                _tile_zero(0);
                _tile_zero(1);
                if (add || k0 > 0) {
                    _tile_loadd(0, c0, ld);
                    if (two) _tile_loadd(1, c1, ld);
                }
                for (int k = 0; k < n; k++) {
                    const ptrdiff_t off = a->k_off ? a->k_off[k0 + k] : (ptrdiff_t)(k0 + k) * TILE_BYTES;
                    _tile_loadd(6, upper[k], 64);
                    _tile_loadd(7, lower[k], 64);
                    _tile_loadd(4, x0 + off, a->row);
                    _tile_dpbf16ps(0, 4, 6);
                    _tile_dpbf16ps(0, 4, 7);
                    if (!two) continue;
                    _tile_loadd(5, x1 + off, a->row);
                    _tile_dpbf16ps(1, 5, 6);
                    _tile_dpbf16ps(1, 5, 7);
                }
                _tile_stored(0, c0, ld);
                if (two) _tile_stored(1, c1, ld);
            }
        }
    _tile_release();
}

const struct float_kern float_kern_amx = { FLOAT_BODY_TABLE,
                                           FLOAT_512_TABLE,
                                           FLOAT_512_ROWS,
                                           .name = "amx",
                                           .kb_chunk = 8,
                                           .bf16_faster = true,
                                           .product_bf16 = product_bf16,
                                           .product_f16 = product_f16,
                                           .pack_row_f16 = pack_row_f16 };
