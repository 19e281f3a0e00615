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

const struct float_kern float_kern_amx = { FLOAT_BODY_TABLE, FLOAT_512_TABLE, FLOAT_512_ROWS,
                                           .name = "amx",    .kb_chunk = 8,   .product_bf16 = product_bf16 };
