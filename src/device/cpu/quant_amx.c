/* quant_amx.c - many rows through the tile unit: 16 x 16 integer dot products of a block in one instruction. The integers
 * are exact and what is done with them is the same, so the bits are those of every other version. Few rows go to
 * VNNI. */
#include "device/cpu/quant_512.h"

/* From so many rows on, unpacking each group pays (64 rows: even; 192: a sixth faster than VNNI, bench/linear). */
#define MANY 64
#define COLS 16

/* A group with its integers as signed bytes. A block is its eight words, then f32 scales [16] of each granule (one, or two
 * where scales are per 16), then f32 minima [16] of each granule if the format has them. */
INLINE void unpack_fixed(const int bits, const bool coded, const int offset, const enum quant_scales scales,
                         const struct quant_levels *levels, const unsigned char *planes, int64_t n_blocks,
                         unsigned char *out)
{
    const int per = quant_piece_blocks(scales);
    const bool by_256 = quant_by_256(scales), by_group = scales == QS_GROUP;
    const bool by_16 = quant_by_16(scales);
    const __m512i lut = levels_of(coded ? levels : NULL);
    const __m512 factor = _mm512_set1_ps(coded ? levels->factor : 1.0f);
    const bool min = offset == 0;
    const __m512i bias = _mm512_set1_epi8((char)-offset);
    for (int64_t b0 = 0; b0 < n_blocks; b0 += per) {
        const unsigned char *s = planes;
        planes += quant_piece_scales(scales);
        __m512 d_all = halves16(s), m_all = _mm512_setzero_ps();
        if (coded && by_256) d_all = _mm512_mul_ps(d_all, factor);
        s += scales == QS_E8 || scales == QS_E4M3_16 ? 0 : 32;
        if (by_group) {
            m_all = negated(_mm512_mul_ps(d_all, unsigned16(s)));
        } else if (min) {
            m_all = by_256 ? negated(halves16(s)) : halves16(s);
            s += 32;
        }
        const int n = quant_piece_count(scales, n_blocks - b0);
        for (int i = 0; i < n; i++) {
            if (i == 1 && scales == QS_F16) d_all = halves16(s);
            for (int j = 0; j < 8; j++)
                _mm512_store_si512(out + 64 * j, _mm512_add_epi8(word(bits, coded, lut, planes, j), bias));
            for (int h = 0; h < (by_16 ? 2 : 1); h++) {
                __m512 d = d_all, m = m_all;
                if (scales == QS_E8 || scales == QS_E4M3_16) {
                    d = scales == QS_E8 ? powers16(s) : e4m3_16(s);
                    s += 16;
                } else if (scales == QS_K_MIN) {
                    d = _mm512_mul_ps(d_all, unsigned16(s));
                    m = _mm512_mul_ps(m_all, unsigned16(s + 16));
                    s += 32;
                } else if (scales == QS_K || scales == QS_K16) {
                    d = _mm512_mul_ps(d_all, signed16(s));
                    s += 16;
                } else if (scales == QS_K16_MIN) {
                    __m512i both = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)s));
                    d = _mm512_mul_ps(d_all,
                                      _mm512_cvtepi32_ps(_mm512_and_si512(both, _mm512_set1_epi32(15))));
                    m = _mm512_mul_ps(m_all, _mm512_cvtepi32_ps(_mm512_srli_epi32(both, 4)));
                    s += 16;
                }
                _mm512_store_ps((float *)(out + 512 + 64 * h), d);
                if (min) _mm512_store_ps((float *)(out + 512 + 64 * (h + (by_16 ? 2 : 1))), m);
            }
            planes += bits * 64;
            out += quant_unpacked_step(by_16, min, false);
        }
    }
}

/* unpack_FORMAT(), and unpack_group() that chooses among them. */
#define UNPACK(name, ...)                                                                                    \
    static void unpack_##name(const struct quant_levels *levels, const unsigned char *group,                 \
                              int64_t n_blocks, unsigned char *out)                                          \
    {                                                                                                        \
        unpack_fixed(__VA_ARGS__, levels, group, n_blocks, out);                                             \
    }
QUANT_FORMATS(UNPACK)

static void unpack_group(const struct quant_format *f, const unsigned char *group, int64_t n_blocks,
                         unsigned char *out)
{
    QUANT_CHOOSE(f, unpack, f->levels, group, n_blocks, out);
}

/* Tiles: 0..3 are sums [rows, 16] i32, 4..7 hold activations [rows, K] i8 and weights [K / 4, 16] x 4 i8 in turn. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t colsb[16];
    uint8_t rows[16];
};

static void configure(int rows, bool by_16)
{
    const int k = by_16 ? 16 : 32; /* bytes of a granule */
    struct tile_config c = { .palette = 1 };
    for (int i = 0; i < 4; i++) {
        c.colsb[i] = 64;
        c.rows[i] = (uint8_t)rows;
        c.colsb[4 + i] = (uint16_t)(i & 1 ? 64 : k);
        c.rows[4 + i] = (uint8_t)(i & 1 ? k / 4 : rows);
    }
    __asm__ volatile("" : : "r"(&c) : "memory"); /* gcc's intrinsic claims to read 8 of the 64 bytes */
    _tile_loadconfig(&c);
}

/* One granule's products into sum[c][r]. */
INLINE void granule(const unsigned char *x, const unsigned char *w, const int tile,
                    int32_t (*sum)[QUANT_GROUP])
{
#define GRANULE(T, A, B)                                                                                     \
    _tile_zero(T);                                                                                           \
    _tile_loadd(A, x, 32);                                                                                   \
    _tile_loadd(B, w, 64);                                                                                   \
    _tile_dpbssd(T, A, B);                                                                                   \
    _tile_stored(T, sum, 64)
    if (tile == 0) {
        GRANULE(0, 4, 5);
    } else if (tile == 1) {
        GRANULE(1, 6, 7);
    } else if (tile == 2) {
        GRANULE(2, 4, 5);
    } else {
        GRANULE(3, 6, 7);
    }
#undef GRANULE
}

/* The products of N granules (1 or 4) of consecutive blocks. */
INLINE void products(const bool by_16, const bool min, const int N, const int tile, const unsigned char *u,
                     const unsigned char *panel, int cols, int32_t (*idot)[COLS][QUANT_GROUP])
{
    const int per = by_16 ? 2 : 1;
    const size_t step = quant_unpacked_step(by_16, min, false),
                 panel_step = (size_t)cols * QUANT_ROW_BLOCK_BYTES;
    UNROLL for (int i = 0; i < N; i++)
        granule(panel + (size_t)(i / per) * panel_step + 16 * (i % per),
                u + (size_t)(i / per) * step + 256 * (i % per), tile + i, idot[i]);
}

/* ... joined to each row's sums, in order. */
INLINE void join(const bool by_16, const bool min, const int N, const unsigned char *u,
                 const unsigned char *panel, int cols, int32_t (*idot)[COLS][QUANT_GROUP],
                 float (*out)[QUANT_GROUP])
{
    const int per = by_16 ? 2 : 1;
    const size_t step = quant_unpacked_step(by_16, min, false),
                 panel_step = (size_t)cols * QUANT_ROW_BLOCK_BYTES;
    __m512 d[4], m[4];
    UNROLL for (int i = 0; i < N; i++)
    {
        const unsigned char *scales = u + (size_t)(i / per) * step + 512 + 64 * (i % per);
        d[i] = _mm512_load_ps((const float *)scales);
        if (min) m[i] = _mm512_load_ps((const float *)(scales + 64 * per));
    }
    for (int c = 0; c < cols; c++) {
        __m512 sum = _mm512_load_ps(out[c]);
        UNROLL for (int i = 0; i < N; i++)
        {
            const unsigned char *side = panel + (size_t)(i / per) * panel_step + 32 * cols + 4 * c;
            __m512 v = _mm512_cvtepi32_ps(_mm512_load_si512(idot[i][c]));
            sum = _mm512_fmadd_ps(v, _mm512_mul_ps(d[i], float_at(side)), sum);
            if (!min) continue;
            __m512 x_sum = float_at(side + 4 * cols);
            if (by_16)
                x_sum = _mm512_mul_ps(_mm512_mul_ps(float_at(side), _mm512_set1_ps(-0.0078125f)),
                                      _mm512_cvtepi32_ps(int_at(side + (12 + 4 * (i % per)) * cols)));
            sum = _mm512_fmadd_ps(m[i], x_sum, sum);
        }
        _mm512_store_ps(out[c], sum);
    }
}

INLINE void dot_fixed(const bool by_16, const bool min, const unsigned char *u, int64_t n_blocks,
                      const unsigned char *panel, int cols, float (*out)[QUANT_GROUP])
{
    /* Two sets: tiles work on one while the vectors empty the other. */
    _Alignas(64) int32_t idot[2][2][COLS][QUANT_GROUP];
    const int per = by_16 ? 2 : 1, at_once = 2 / per;
    const size_t step = quant_unpacked_step(by_16, min, false),
                 panel_step = (size_t)cols * QUANT_ROW_BLOCK_BYTES;
    const size_t u_lot = (size_t)at_once * step, panel_lot = (size_t)at_once * panel_step;
    int64_t lots = n_blocks / at_once, set = 0;
    if (lots) products(by_16, min, 2, 0, u, panel, cols, idot[0]);
    for (int64_t k = 0; k < lots; k++, u += u_lot, panel += panel_lot, set ^= 1) {
        if (k + 1 < lots) {
            if (set)
                products(by_16, min, 2, 0, u + u_lot, panel + panel_lot, cols, idot[0]);
            else
                products(by_16, min, 2, 2, u + u_lot, panel + panel_lot, cols, idot[1]);
        }
        join(by_16, min, 2, u, panel, cols, idot[set], out);
    }

    for (int64_t b = lots * at_once; b < n_blocks; b++, u += step, panel += panel_step) {
        products(by_16, min, 1, 0, u, panel, cols, idot[0]);
        join(by_16, min, 1, u, panel, cols, idot[0], out);
    }
}

static void dot(const struct quant_format *f, const unsigned char *u, int64_t n_blocks,
                const unsigned char *panel, int cols, float (*out)[QUANT_GROUP])
{
    bool by_16 = quant_by_16(f->scales), min = f->offset == 0;
    if (by_16 && min)
        dot_fixed(true, true, u, n_blocks, panel, cols, out);
    else if (by_16)
        dot_fixed(true, false, u, n_blocks, panel, cols, out);
    else if (min)
        dot_fixed(false, true, u, n_blocks, panel, cols, out);
    else
        dot_fixed(false, false, u, n_blocks, panel, cols, out);
}

static int panel_rows(int64_t n)
{
    return n >= MANY ? quant_panel_rows(n, COLS) : quant_kern_avx512.panel_rows(n);
}

static void round_rows(const struct quant_job *j, int64_t r0, int64_t r1, float *buf)
{
    quant_kern_avx512.round_rows(j, r0, r1, buf);
}

static void multiply(const struct quant_job *j, int64_t g0, int64_t g1, unsigned char *unpacked)
{
    if (j->panels.n < MANY) {
        quant_kern_avx512.multiply(j, g0, g1, unpacked);
        return;
    }
    quant_multiply_unpacked(j, g0, g1, unpacked, unpack_group, configure, dot, false);
    _tile_release(); /* or every switch of threads from here on saves 8 KB of tiles */
}

const struct quant_kern quant_kern_amx = { panel_rows, round_rows, multiply };
