/* quant_256.h - the quantised product with 256-bit vectors: 8 of a group's 16 rows in the lanes of each of two registers,
 * up to 4 activation rows at once. Included by quant_avx2.c and quant_avxvnni.c, which define what one integer sum of 8
 * weight rows with one activation row is kept in while a granule lasts (16 or 32 elements):
 *
 *     EIGHT_IS_SIGNED                    true: words of 8 bits are signed, so no offset is owed
 *     WIDE_EIGHT                         true: many rows meet words of 8 bits as 16 bits (then they are signed)
 *     MANY, MANY_OF_BYTES                from so many rows on, unpacking each group pays; of words that are bytes already
 *     sums_start(bits, offset, less)     the sum before the first word: -offset * (sum of the row's bytes); less: see below
 *     sums_add(bits, s, w, q)            adds a word (stored form, u8; 8-bit words signed if so) times the four bytes in q
 *     sums_total(bits, s)                the sum as i32 lanes
 *     sums_lent(bits, offset)            sums_start() is called with this much more than the format's offset, and the sum
 *                                        owes it in the end
 *
 * Panels  as quant.h says, but for the integers beside the bytes: three arrays of i32 `less`, each two i16 as they lie in the
 *         lanes of a word: minus the sum of the bytes 4 * j and 4 * j + 1, minus that of 4 * j + 2 and 4 * j + 3; of the
 *         whole block, of its first 16 bytes, of its last 16.
 *
 * Many rows  Groups are unpacked first (quant_multiply_unpacked): a block's eight words as bytes, f32 scales [16] of each granule
 *            and f32 minima [16] of each granule if the format has them. */
#ifndef HEARTH_DEVICE_CPU_QUANT_256_H
#define HEARTH_DEVICE_CPU_QUANT_256_H

#include <immintrin.h>

#include "device/cpu/quant_multiply.h"
#include "device/cpu/quant_round.h"
#include "format/quant_codes.h"

#define AHEAD 4096 /* as in quant_avx512.c */

/* Loops over constant bounds whose arrays must become registers. */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* The value is worked out at this place: compilers otherwise add products in another grouping and fetch all operands of
 * a block before the first product, and then keep both on the stack. */
#define HERE(v) __asm__("" : "+x"(v))

INLINE __m256i half_plane(const unsigned char *p) { return _mm256_load_si256((const __m256i *)p); }

INLINE __m256i field(__m256i v, const int n, const int mask)
{
    __m256i s = n > 0 ? _mm256_slli_epi16(v, n) : n < 0 ? _mm256_srli_epi16(v, -n) : v;
    return _mm256_and_si256(s, _mm256_set1_epi8((char)mask));
}

/* What codes mean, + 128, in each half of a register. levels NULL: any. */
INLINE __m256i levels_of(const struct quant_levels *levels)
{
    if (!levels) return _mm256_setzero_si256();
    const __m128i value = _mm_loadu_si128((const __m128i *)levels->value);
    return _mm256_broadcastsi128_si256(_mm_xor_si128(value, _mm_set1_epi8(-128)));
}

/* The half that begins at `planes` (offset 0 or 32 of each vector) of word j. */
INLINE __m256i word(const int bits, const bool coded, const __m256i levels, const unsigned char *planes,
                    const int j)
{
    if (bits == 8) return half_plane(planes + 64 * j);
    __m256i w;
    int low = 0;
    if (bits >= 4) {
        w = field(half_plane(planes + 64 * (j & 3)), j < 4 ? 0 : -4, 15);
        if (bits == 4 && coded) return _mm256_shuffle_epi8(levels, w);
        planes += 256;
        low = 4;
        if (bits - low >= 2)
            w = _mm256_or_si256(w, field(half_plane(planes + 64 * (j >> 2)), 4 - 2 * (j & 3), 0x30));
    } else {
        w = field(half_plane(planes + 64 * (j >> 2)), -2 * (j & 3), 3);
        planes += 128;
        low = 2;
    }
    if (bits - low == 1) w = _mm256_or_si256(w, field(half_plane(planes), low - j, 1 << low));
    if (coded) return _mm256_shuffle_epi8(levels, w);
    return w;
}

INLINE __m256 halves8(const unsigned char *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
INLINE __m256 unsigned8(const unsigned char *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
INLINE __m256 signed8(const unsigned char *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
INLINE __m256 float_at(const unsigned char *p)
{
    float f;
    memcpy(&f, p, 4);
    return _mm256_set1_ps(f);
}
INLINE __m256i int_at(const unsigned char *p)
{
    int32_t i;
    memcpy(&i, p, 4);
    return _mm256_set1_epi32(i);
}

/* Scale and minimum of block i of its 256 (half h of the block where scales are per 16) for rows 8*r.. of the group;
 * s stands at the scales of its piece. */
INLINE void scales_at(const enum quant_scales scales, const __m256 factor, const unsigned char *s,
                      const int i, const int h, const int r, __m256 *d, __m256 *m)
{
    const __m256 zero = _mm256_setzero_ps();
    *m = zero;
    switch (scales) {
    case QS_F16: *d = halves8(s + 32 * i + 16 * r); return;
    case QS_F16_MIN:
        *d = halves8(s + 16 * r);
        *m = halves8(s + 32 + 16 * r);
        return;
    case QS_K_MIN:
        *d = _mm256_mul_ps(halves8(s + 16 * r), unsigned8(s + 64 + 32 * i + 8 * r));
        *m = _mm256_mul_ps(_mm256_sub_ps(zero, halves8(s + 32 + 16 * r)),
                           unsigned8(s + 64 + 32 * i + 16 + 8 * r));
        return;
    case QS_K:
        *d = _mm256_mul_ps(_mm256_mul_ps(halves8(s + 16 * r), factor), signed8(s + 32 + 16 * i + 8 * r));
        return;
    case QS_K16:
        *d = _mm256_mul_ps(_mm256_mul_ps(halves8(s + 16 * r), factor),
                           signed8(s + 32 + 16 * (2 * i + h) + 8 * r));
        return;
    case QS_E8: /* 2^(e - 127) */
        *d = _mm256_castsi256_ps(_mm256_slli_epi32(
            _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(s + 16 * i + 8 * r))), 23));
        return;
    case QS_E4M3_16: { /* half of it: as a half its bits mean 2^-8 of it */
        const __m128i bytes = _mm_loadl_epi64((const __m128i *)(s + 16 * (2 * i + h) + 8 * r));
        *d = _mm256_mul_ps(_mm256_cvtph_ps(_mm_slli_epi16(_mm_cvtepu8_epi16(bytes), 7)),
                           _mm256_set1_ps(128.0f));
        return;
    }
    case QS_GROUP:
        *d = halves8(s + 16 * r);
        *m = _mm256_sub_ps(zero, _mm256_mul_ps(*d, unsigned8(s + 32 + 8 * r)));
        return;
    case QS_K16_MIN: {
        __m256i both =
            _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(s + 64 + 16 * (2 * i + h) + 8 * r)));
        *d = _mm256_mul_ps(halves8(s + 16 * r),
                           _mm256_cvtepi32_ps(_mm256_and_si256(both, _mm256_set1_epi32(15))));
        *m = _mm256_mul_ps(_mm256_sub_ps(zero, halves8(s + 32 + 16 * r)),
                           _mm256_cvtepi32_ps(_mm256_srli_epi32(both, 4)));
        return;
    }
    }
}

/* The formats as the kernels see them: all are constants where functions are inlined. */
struct shape {
    int bits, offset;
    bool coded, unpacked;
    enum quant_scales scales;
};
INLINE bool by_16(const struct shape f) { return quant_by_16(f.scales); }

/* Half r of word j of a block. */
INLINE __m256i word_at(const struct shape f, const __m256i levels, const unsigned char *planes, const int j,
                       const int r)
{
    if (f.unpacked) return half_plane(planes + 64 * j + 32 * r);
    __m256i w = word(f.bits, f.coded, levels, planes + 32 * r, j);
    return EIGHT_IS_SIGNED && (f.bits == 8 || f.coded) ? _mm256_xor_si256(w, _mm256_set1_epi8(-128)) : w;
}

INLINE bool wide(const struct shape f)
{
    return f.unpacked && WIDE_EIGHT && (f.bits == 8 || f.coded) && !by_16(f);
}

/* Sixteen bits of each byte: of the even ones of each word, of the odd ones. */
INLINE __m256i wide_half(__m256i bytes, const int odd)
{
    return _mm256_srai_epi16(odd ? bytes : _mm256_slli_epi16(bytes, 8), 8);
}

/* A block of NC rows with words of 16 bits, even and odd bytes apart. */
INLINE void wide_dots(const int NC, const unsigned char *planes, const unsigned char *q, __m256i acc[4][2])
{
    _Alignas(32) unsigned char x[4][2][32];
    UNROLL for (int c = 0; c < NC; c++) UNROLL for (int odd = 0; odd < 2; odd++) _mm256_store_si256(
        (__m256i *)x[c][odd], wide_half(_mm256_loadu_si256((const __m256i *)(q + 32 * c)), odd));
    __asm__("" : "+m"(x)); /* or its words are taken out of registers again */
    UNROLL for (int c = 0; c < NC; c++) acc[c][0] = acc[c][1] = _mm256_setzero_si256();
    UNROLL for (int j = 0; j < 8; j++) UNROLL for (int odd = 0; odd < 2; odd++)
    {
        const __m256i w0 = half_plane(planes + 128 * j + 64 * odd),
                      w1 = half_plane(planes + 128 * j + 64 * odd + 32);
        UNROLL for (int c = 0; c < NC; c++)
        {
            const __m256i pair = int_at(x[c][odd] + 4 * j);
            acc[c][0] = _mm256_add_epi32(acc[c][0], _mm256_madd_epi16(w0, pair));
            HERE(acc[c][0]);
            acc[c][1] = _mm256_add_epi32(acc[c][1], _mm256_madd_epi16(w1, pair));
            HERE(acc[c][1]);
        }
    }
}

/* One granule of NC rows: words [j0, j1). */
INLINE void integer_dots(const struct shape f, const __m256i levels, const int NC,
                         const unsigned char *planes, const unsigned char *q, const unsigned char *less,
                         const int j0, const int j1, __m256i acc[4][2])
{
    const int bits = f.coded ? 8 : f.bits;
    UNROLL for (int c = 0; c < NC; c++) acc[c][0] = acc[c][1] =
        sums_start(bits, f.offset + sums_lent(bits, f.offset), int_at(less + 4 * c));
    UNROLL for (int j = j0; j < j1; j++)
    {
        const __m256i w0 = word_at(f, levels, planes, j, 0), w1 = word_at(f, levels, planes, j, 1);
        UNROLL for (int c = 0; c < NC; c++)
        {
            const __m256i x = int_at(q + 32 * c + 4 * j);
            acc[c][0] = sums_add(bits, acc[c][0], w0, x);
            HERE(acc[c][0]);
            acc[c][1] = sums_add(bits, acc[c][1], w1, x);
            HERE(acc[c][1]);
        }
    }
}

/* Rows c0 .. c0 + NC of a panel of `cols`, blocks from the first of a piece on; adds to out[c0 ..] when unpacked. */
INLINE void dot_fixed(const struct shape f, const int NC, const struct quant_levels *levels,
                      const unsigned char *planes, int64_t n_blocks, const unsigned char *panel, int cols,
                      int c0, float (*out)[QUANT_GROUP])
{
    const bool min = f.offset == 0;
    const int halves = by_16(f) ? 2 : 1, per = f.unpacked ? 1 : quant_piece_blocks(f.scales);
    const int bits = f.coded ? 8 : f.bits, lent = sums_lent(bits, f.offset);
    const bool looks_up = f.coded && !f.unpacked;
    const __m256i lut = levels_of(looks_up ? levels : NULL);
    const __m256 factor = _mm256_set1_ps(looks_up ? levels->factor : 1.0f);
    __m256 sum[4][2];
    UNROLL for (int c = 0; c < NC; c++) UNROLL for (int r = 0; r < 2; r++) sum[c][r] =
        f.unpacked ? _mm256_load_ps(out[c0 + c] + 8 * r) : _mm256_setzero_ps();
    for (int64_t b = 0; b < n_blocks; b += per) {
        const unsigned char *s = planes;
        if (!f.unpacked) planes += quant_piece_scales(f.scales);
        const int n = f.unpacked ? 1 : quant_piece_count(f.scales, n_blocks - b);
        for (int i = 0; i < n; i++) {
            const unsigned char *q = panel + 32 * c0, *side = panel + 32 * cols + 4 * c0;
            if (!f.unpacked && c0 == 0)
                UNROLL for (int l = 0; l < f.bits; l++)
                    _mm_prefetch((const char *)planes + AHEAD + 64 * l, _MM_HINT_T0);
            UNROLL for (int h = 0; h < halves; h++)
            {
                const unsigned char *less = side + (halves == 2 ? 12 + 4 * h : 8) * cols;
                __m256i acc[4][2];
                if (wide(f))
                    wide_dots(NC, planes, q, acc);
                else
                    integer_dots(f, lut, NC, planes, q, less, 8 / halves * h, 8 / halves * (h + 1), acc);
                __m256 d[2], m[2];
                UNROLL for (int r = 0; r < 2; r++)
                {
                    if (f.unpacked) {
                        const float *u = (const float *)(planes + (wide(f) ? 1024 : 512)) + 16 * h + 8 * r;
                        d[r] = _mm256_load_ps(u);
                        m[r] = min ? _mm256_load_ps(u + 16 * halves) : _mm256_setzero_ps();
                    } else {
                        scales_at(f.scales, factor, s, i, h, r, &d[r], &m[r]);
                    }
                }
                UNROLL for (int c = 0; c < NC; c++)
                {
                    const __m256 x_scale = float_at(side + 4 * c);
                    __m256 x_sum = _mm256_setzero_ps();
                    __m256i owed = _mm256_setzero_si256();
                    if (lent) owed = _mm256_madd_epi16(int_at(less + 4 * c), _mm256_set1_epi16((short)-lent));
                    if (min && halves == 1) x_sum = float_at(side + 4 * cols + 4 * c);
                    if (min && halves == 2) /* x_scale * (float)sum of the half */
                        x_sum = _mm256_mul_ps(x_scale, _mm256_cvtepi32_ps(_mm256_madd_epi16(
                                                           int_at(less + 4 * c), _mm256_set1_epi16(-1))));
                    UNROLL for (int r = 0; r < 2; r++)
                    {
                        __m256i idot = sums_total(bits, acc[c][r]);
                        if (lent) idot = _mm256_add_epi32(idot, owed);
                        sum[c][r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(idot), _mm256_mul_ps(d[r], x_scale),
                                                    sum[c][r]);
                        if (min) sum[c][r] = _mm256_fmadd_ps(m[r], x_sum, sum[c][r]);
                    }
                }
            }
            planes +=
                f.unpacked ? (int64_t)quant_unpacked_step(by_16(f), min, wide(f)) : (int64_t)f.bits * 64;
            panel += cols * QUANT_ROW_BLOCK_BYTES;
        }
    }
    UNROLL for (int c = 0; c < NC; c++) UNROLL for (int r = 0; r < 2; r++)
        _mm256_store_ps(out[c0 + c] + 8 * r, sum[c][r]);
}

#define DOT_ROWS(f)                                                                                          \
    int c = 0;                                                                                               \
    for (; c + 4 <= cols; c += 4) dot_fixed(f, 4, levels, group, n_blocks, panel, cols, c, out);             \
    if (cols - c == 3) dot_fixed(f, 3, levels, group, n_blocks, panel, cols, c, out);                        \
    if (cols - c == 2) dot_fixed(f, 2, levels, group, n_blocks, panel, cols, c, out);                        \
    if (cols - c == 1) dot_fixed(f, 1, levels, group, n_blocks, panel, cols, c, out);
#define DOT(name, bits, coded, offset, scales)                                                               \
    static void dot_##name(const struct quant_levels *levels, const unsigned char *group, int64_t n_blocks,  \
                           const unsigned char *panel, int cols, float(*out)[QUANT_GROUP])                   \
    {                                                                                                        \
        const struct shape f = { bits, offset, coded, false, scales };                                       \
        DOT_ROWS(f)                                                                                          \
    }
QUANT_FORMATS(DOT)

static void dot_group(const struct quant_format *f, const unsigned char *group, int64_t n_blocks,
                      const unsigned char *panel, int cols, float (*out)[QUANT_GROUP])
{
    QUANT_CHOOSE(f, dot, f->levels, group, n_blocks, panel, cols, out);
}

static void dot(const struct quant_format *f, const unsigned char *const *group, int n_groups,
                int64_t n_blocks, const unsigned char *panel, int cols, const unsigned char *next,
                size_t next_lines, quant_sums *out)
{
    (void)next, (void)next_lines;
    for (int g = 0; g < n_groups; g++) dot_group(f, group[g], n_blocks, panel, cols, out[g]);
}

/* A group for many rows: its words as bytes, its scales and minima as floats. */
INLINE void unpack_fixed(const struct shape f, const struct shape to, const struct quant_levels *levels,
                         const unsigned char *planes, int64_t n_blocks, unsigned char *out)
{
    const int halves = by_16(f) ? 2 : 1, per = quant_piece_blocks(f.scales);
    const __m256i lut = levels_of(f.coded ? levels : NULL);
    const __m256 factor = _mm256_set1_ps(f.coded ? levels->factor : 1.0f);
    for (int64_t b = 0; b < n_blocks; b += per) {
        const unsigned char *s = planes;
        planes += quant_piece_scales(f.scales);
        const int n = quant_piece_count(f.scales, n_blocks - b);
        for (int i = 0; i < n; i++) {
            UNROLL for (int j = 0; j < 8; j++) UNROLL for (int r = 0; r < 2; r++)
            {
                const __m256i w = word_at(f, lut, planes, j, r);
                __m256i *words = (__m256i *)(out + (wide(to) ? 128 : 64) * j + 32 * r);
                _mm256_store_si256(words, wide(to) ? wide_half(w, 0) : w);
                if (wide(to)) _mm256_store_si256(words + 2, wide_half(w, 1));
            }
            UNROLL for (int h = 0; h < halves; h++) UNROLL for (int r = 0; r < 2; r++)
            {
                __m256 d, m;
                float *u = (float *)(out + (wide(to) ? 1024 : 512)) + 16 * h + 8 * r;
                scales_at(f.scales, factor, s, i, h, r, &d, &m);
                _mm256_store_ps(u, d);
                if (f.offset == 0) _mm256_store_ps(u + 16 * halves, m);
            }
            planes += f.bits * 64;
            out += quant_unpacked_step(by_16(f), f.offset == 0, wide(to));
        }
    }
}

#define MANY_ROWS(name, bits, coded, offset, scales)                                                         \
    static void unpack_##name(const struct quant_levels *levels, const unsigned char *group,                 \
                              int64_t n_blocks, unsigned char *out)                                          \
    {                                                                                                        \
        const struct shape f = { bits, offset, coded, false, scales },                                       \
                           to = { bits, offset, coded, true, scales };                                       \
        unpack_fixed(f, to, levels, group, n_blocks, out);                                                   \
    }                                                                                                        \
    static void dot_bytes_##name(const struct quant_levels *levels, const unsigned char *group,              \
                                 int64_t n_blocks, const unsigned char *panel, int cols,                     \
                                 float(*out)[QUANT_GROUP])                                                   \
    {                                                                                                        \
        const struct shape f = { bits, offset, coded, true, scales };                                        \
        DOT_ROWS(f)                                                                                          \
    }
QUANT_FORMATS(MANY_ROWS)

static void unpack(const struct quant_format *f, const unsigned char *group, int64_t n_blocks,
                   unsigned char *out)
{
    QUANT_CHOOSE(f, unpack, f->levels, group, n_blocks, out);
}

static void dot_bytes(const struct quant_format *f, const unsigned char *group, int64_t n_blocks,
                      const unsigned char *panel, int cols, float (*out)[QUANT_GROUP])
{
    QUANT_CHOOSE(f, dot_bytes, f->levels, group, n_blocks, panel, cols, out);
}

static void no_setup(int cols, bool granules_of_16) { (void)cols, (void)granules_of_16; }

/* quant_round_block() in vectors. */
INLINE void round_block(const float *restrict x, unsigned char *restrict out, int cols, int c,
                        float *restrict left)
{
    const __m256 sign = _mm256_set1_ps(-0.0f), magic = _mm256_set1_ps(12582912.0f);
    __m256 v[4], m = _mm256_setzero_ps();
    for (int k = 0; k < 4; k++) {
        v[k] = _mm256_loadu_ps(x + 8 * k);
        m = _mm256_max_ps(m, _mm256_andnot_ps(sign, v[k]));
    }
    __m128 m4 = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    m4 = _mm_max_ps(m4, _mm_movehl_ps(m4, m4));
    float amax = _mm_cvtss_f32(_mm_max_ss(m4, _mm_movehdup_ps(m4)));
    float inv = amax > 1e-30f ? 127.0f / amax : 0.0f, scale = amax > 1e-30f ? amax / 127.0f : 0.0f;

    __m256i q[4], low = _mm256_set1_epi32(0xff);
    for (int k = 0; k < 4; k++) {
        __m256 t = _mm256_fmadd_ps(v[k], _mm256_set1_ps(inv), magic);
        if (left) /* t - magic is q as a float */
            _mm256_storeu_ps(left + 8 * k,
                             _mm256_fnmadd_ps(_mm256_set1_ps(scale), _mm256_sub_ps(t, magic), v[k]));
        q[k] = _mm256_and_si256(_mm256_castps_si256(t), low);
    }
    /* packing works in 128-bit halves: the last step puts the dwords back in order */
    __m256i bytes = _mm256_packus_epi16(_mm256_packus_epi32(q[0], q[1]), _mm256_packus_epi32(q[2], q[3]));
    bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(out + 32 * c), bytes);
    __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes); /* [word][pair] */
    __m128i lo = _mm256_castsi256_si128(pairs), hi = _mm256_extracti128_si256(pairs, 1);
    __m128i less = _mm_add_epi16(_mm_unpacklo_epi32(lo, hi), _mm_unpackhi_epi32(lo, hi));
    less =
        _mm_sub_epi16(_mm_setzero_si128(), _mm_add_epi16(less, _mm_unpackhi_epi64(less, less))); /* lo, hi */
    less = _mm_unpacklo_epi64(_mm_add_epi16(less, _mm_shuffle_epi32(less, 1)), less); /* both, -, lo, hi */
    const float sum = scale * (float)-_mm_cvtsi128_si32(_mm_madd_epi16(less, _mm_set1_epi16(1)));
    unsigned char *side = out + 32 * cols + 4 * c;
    const int32_t all = _mm_cvtsi128_si32(less), first = _mm_extract_epi32(less, 2),
                  last = _mm_extract_epi32(less, 3);
    memcpy(side, &scale, 4);
    memcpy(side + 4 * cols, &sum, 4);
    memcpy(side + 8 * cols, &all, 4);
    memcpy(side + 12 * cols, &first, 4);
    memcpy(side + 16 * cols, &last, 4);
}

static void round_rows(const struct quant_job *j, int64_t r0, int64_t r1, float *buf)
{
    quant_round_rows(j, r0, r1, buf, round_block);
}

static void multiply(const struct quant_job *j, int64_t g0, int64_t g1, unsigned char *unpacked)
{
    if (j->panels.n < (j->part->format->bits == 8 ? MANY_OF_BYTES : MANY))
        quant_multiply_direct(j, g0, g1, dot);
    else
        quant_multiply_unpacked(j, g0, g1, unpacked, unpack, no_setup, dot_bytes, WIDE_EIGHT);
}

static int panel_rows(int64_t n) { return n < 4 ? (int)n : (quant_panel_rows(n, QUANT_COLS) + 3) / 4 * 4; }

#endif
