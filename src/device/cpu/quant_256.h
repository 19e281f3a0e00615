/* quant_256.h - the quantised product with 256-bit vectors: 8 of a group's 16 rows in the lanes of each of two registers,
 * up to 3 activation rows at once. Included by quant_avx2.c and quant_avxvnni.c, which define
 *
 *     struct sums                        what one row's integer sum of a half of the group is kept in
 *     sums_add(s, bits, j, w, q)         adds word j (u8, stored form) times the four bytes at q; 8-bit words signed
 *     sums_total(s)                      the sum as i32 lanes
 *     EIGHT_IS_SIGNED                    true: 8-bit words are multiplied as (w - 128), so no offset is owed */
#ifndef HEARTH_DEVICE_CPU_QUANT_256_H
#define HEARTH_DEVICE_CPU_QUANT_256_H

#include <immintrin.h>

#include "device/cpu/quant_multiply.h"
#include "device/cpu/quant_round.h"
#include "format/quant.h"

#define AHEAD 4096 /* as in quant_avx512.c */

INLINE __m256i half_plane(const unsigned char *p) { return _mm256_load_si256((const __m256i *)p); }

INLINE __m256i field(__m256i v, const int n, const int mask)
{
    __m256i s = n > 0 ? _mm256_slli_epi16(v, n) : n < 0 ? _mm256_srli_epi16(v, -n) : v;
    return _mm256_and_si256(s, _mm256_set1_epi8((char)mask));
}

/* The half that begins at `planes` (offset 0 or 32 of each vector) of word j. */
INLINE __m256i word(const int bits, const bool iq4, const unsigned char *planes, const int j)
{
    if (bits == 8) return half_plane(planes + 64 * j);
    __m256i w;
    int low = 0;
    if (bits >= 4) {
        w = field(half_plane(planes + 64 * (j & 3)), j < 4 ? 0 : -4, 15);
        if (iq4) {
            const __m256i lut = _mm256_broadcastsi128_si256(
                _mm_setr_epi8(1, 24, 45, 63, 79, 93, 106, 118, -127, -115, -103, -90, -75, -59, -39, -15));
            return _mm256_shuffle_epi8(lut, w);
        }
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
INLINE void scales_at(const enum quant_scales scales, const unsigned char *s, const int i, const int h,
                      const int r, __m256 *d, __m256 *m)
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
    case QS_K: *d = _mm256_mul_ps(halves8(s + 16 * r), signed8(s + 32 + 16 * i + 8 * r)); return;
    case QS_K16: *d = _mm256_mul_ps(halves8(s + 16 * r), signed8(s + 32 + 16 * (2 * i + h) + 8 * r)); return;
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

/* Rows c0 .. c0 + NC of a panel of `cols`. */
INLINE void dot_fixed(const int bits, const bool iq4, const int offset, const enum quant_scales scales,
                      const int NC, const unsigned char *group, int64_t n_blocks, const unsigned char *panel,
                      int cols, int c0, float (*out)[QUANT_GROUP])
{
    const size_t plane_bytes = (size_t)bits * 64;
    const bool by_16 = scales == QS_K16 || scales == QS_K16_MIN;
    const int per = quant_piece_blocks(scales);
    const int shift = offset == 128 ? 0 : offset == 32 ? 2 : offset == 16 ? 3 : offset == 8 ? 4 : 5;
    const bool owed = offset != 0 && !(EIGHT_IS_SIGNED && (bits == 8 || iq4));
    const unsigned char *planes = group;
    __m256 sum[3][2];
    for (int c = 0; c < NC; c++) sum[c][0] = sum[c][1] = _mm256_setzero_ps();
    for (int64_t b = 0; b < n_blocks; b += per) {
        const unsigned char *s = planes;
        planes += quant_piece_scales(scales);
        for (int i = 0; i < (per == 2 && n_blocks - b < 2 ? 1 : per); i++) {
            const unsigned char *q = panel + 32 * c0, *side = panel + 32 * cols + 4 * c0;
            if (NC == 1)
                for (int l = 0; l < bits; l++)
                    _mm_prefetch((const char *)planes + AHEAD + 64 * l, _MM_HINT_T0);
            for (int h = 0; h < (by_16 ? 2 : 1); h++)
                for (int r = 0; r < 2; r++) {
                    struct sums acc[3];
                    for (int c = 0; c < NC; c++) acc[c] = (struct sums){ 0 };
                    for (int j = by_16 ? 4 * h : 0; j < (by_16 ? 4 * h + 4 : 8); j++) {
                        __m256i w = word(bits, iq4, planes + 32 * r, j);
                        for (int c = 0; c < NC; c++)
                            sums_add(&acc[c], iq4 ? 8 : bits, j, w, int_at(q + 32 * c + 4 * j));
                    }
                    __m256 d, m;
                    scales_at(scales, s, i, h, r, &d, &m);
                    const unsigned char *neg = side + (by_16 ? 12 + 4 * h : 8) * cols;
                    for (int c = 0; c < NC; c++) {
                        __m256i idot = sums_total(&acc[c]);
                        if (owed)
                            idot = _mm256_add_epi32(idot, _mm256_srai_epi32(int_at(neg + 4 * c), shift));
                        __m256 x_scale = float_at(side + 4 * c);
                        sum[c][r] =
                            _mm256_fmadd_ps(_mm256_cvtepi32_ps(idot), _mm256_mul_ps(d, x_scale), sum[c][r]);
                        if (offset != 0) continue;
                        __m256 x_sum = float_at(side + 4 * cols + 4 * c);
                        if (by_16) /* x_scale * (float)sum of the half: neg is -128 of it */
                            x_sum = _mm256_mul_ps(_mm256_mul_ps(x_scale, _mm256_set1_ps(-0.0078125f)),
                                                  _mm256_cvtepi32_ps(int_at(neg + 4 * c)));
                        sum[c][r] = _mm256_fmadd_ps(m, x_sum, sum[c][r]);
                    }
                }
            planes += plane_bytes;
            panel += cols * QUANT_ROW_BLOCK_BYTES;
        }
    }
    for (int c = 0; c < NC; c++)
        for (int r = 0; r < 2; r++) _mm256_storeu_ps(out[c0 + c] + 8 * r, sum[c][r]);
}

#define DOT(name, ...)                                                                                       \
    static void dot_##name(const unsigned char *group, int64_t n_blocks, const unsigned char *panel,         \
                           int cols, float(*out)[QUANT_GROUP])                                               \
    {                                                                                                        \
        int c = 0;                                                                                           \
        for (; c + 3 <= cols; c += 3) dot_fixed(__VA_ARGS__, 3, group, n_blocks, panel, cols, c, out);       \
        if (cols - c == 2) dot_fixed(__VA_ARGS__, 2, group, n_blocks, panel, cols, c, out);                  \
        if (cols - c == 1) dot_fixed(__VA_ARGS__, 1, group, n_blocks, panel, cols, c, out);                  \
    }
QUANT_FORMATS(DOT)

static void dot_group(const struct quant_format *f, const unsigned char *group, int64_t n_blocks,
                      const unsigned char *panel, int cols, float (*out)[QUANT_GROUP])
{
    QUANT_CHOOSE(f, dot, group, n_blocks, panel, cols, out);
}

static void dot(const struct quant_format *f, const unsigned char *const *group, int n_groups,
                int64_t n_blocks, const unsigned char *panel, int cols, const unsigned char *next,
                size_t next_lines, quant_sums *out)
{
    (void)next, (void)next_lines;
    for (int g = 0; g < n_groups; g++) dot_group(f, group[g], n_blocks, panel, cols, out[g]);
}

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
    __m256i fours = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes), _mm256_set1_epi16(1));
    __m128i lo = _mm256_castsi256_si128(fours), hi = _mm256_extracti128_si256(fours, 1);
    __m128i both = _mm_add_epi32(_mm_unpacklo_epi32(lo, hi), _mm_unpackhi_epi32(lo, hi));
    both = _mm_add_epi32(both, _mm_unpackhi_epi64(both, both));
    quant_round_side(out, cols, c, scale, _mm_cvtsi128_si32(both), _mm_extract_epi32(both, 1));
}

static void round_rows(const struct quant_job *j, int64_t r0, int64_t r1, float *buf)
{
    quant_round_rows(j, r0, r1, buf, round_block);
}

static void multiply(const struct quant_job *j, int64_t g0, int64_t g1, unsigned char *unpacked)
{
    (void)unpacked;
    quant_multiply_direct(j, g0, g1, dot);
}

static int panel_rows(int64_t n) { return quant_panel_rows(n, 12); }

#endif
