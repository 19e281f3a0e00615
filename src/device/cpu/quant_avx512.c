/* quant_avx512.c - the quantised product with 512-bit VNNI: 16 weight rows in the lanes; many activation rows six at a time
 * with two groups of them, so that a row's bytes are loaded once for 32 weight rows. */
#include "device/cpu/quant_512.h"

/* Rows of a panel: twice what two groups' sums and integer sums leave room for in the registers. */
#define COLS 12
/* Bytes ahead of the present block that weights are asked for: far enough for DRAM, one page at most. */
#define AHEAD 4096

/* acc + the four products of each lane's bytes of w with the four bytes at q. */
INLINE __m512i dot4(__m512i acc, __m512i w, __m512i q)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(q));
    return acc;
}

/* The same with q in memory. Written out because compilers load the broadcast into a register of its own first, and there
 * are none to spare. */
INLINE __m512i dot4_at(__m512i acc, __m512i w, const unsigned char *q)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*(const int32_t(*)[1])q));
    return acc;
}

/* Words [j0, j1) of a block of G groups times P rows: acc[g * P + c] starts from -offset * (sum of the row's q). */
INLINE void integer_dots(const int bits, const bool coded, const __m512i levels, const int offset,
                         const int G, const int P, const unsigned char *const planes[2],
                         const unsigned char *q, const unsigned char *neg, const int j0, const int j1,
                         __m512i *acc)
{
    const int shift = offset == 128 ? 0 : offset == 32 ? 2 : offset == 16 ? 3 : offset == 8 ? 4 : 5;
    UNROLL for (int c = 0; c < P; c++)
    {
        __m512i start =
            offset ? _mm512_srai_epi32(int_at(neg + 4 * c), (unsigned)shift) : _mm512_setzero_si512();
        UNROLL for (int g = 0; g < G; g++) acc[g * P + c] = start;
    }
    UNROLL for (int j = j0; j < j1; j++)
    {
        __m512i w[2];
        UNROLL for (int g = 0; g < G; g++) w[g] = word(bits, coded, levels, planes[g], j);
        UNROLL for (int c = 0; c < P; c++)
        {
            if (G == 1) {
                acc[c] = dot4_at(acc[c], w[0], q + 32 * c + 4 * j);
            } else {
                __m512i x = int_at(q + 32 * c + 4 * j);
                UNROLL for (int g = 0; g < G; g++) acc[g * P + c] = dot4(acc[g * P + c], w[g], x);
            }
        }
    }
}

/* Rows c0 .. c0 + P of a panel of `cols` with all 16 rows of G groups. */
INLINE void dot_fixed(const int bits, const bool coded, const int offset, const enum quant_scales scales,
                      const int G, const int P, const struct quant_levels *levels,
                      const unsigned char *const *group, int64_t n_blocks, const unsigned char *panel,
                      int cols, int c0, const unsigned char *next, size_t next_lines, quant_sums *out)
{
    const size_t plane_bytes = (size_t)bits * 64, scale_bytes = quant_piece_scales(scales);
    const int per = quant_piece_blocks(scales);
    const bool by_256 = quant_by_256(scales), by_group = scales == QS_GROUP;
    const bool has_min = offset == 0;
    const __m512i lut = levels_of(coded ? levels : NULL);
    const __m512 factor = _mm512_set1_ps(coded ? levels->factor : 1.0f);
    const unsigned char *planes[2] = { group[0], group[G - 1] }, *s[2];
    /* Where the second group follows the first, what comes next for either lies behind both. */
    const size_t size = (size_t)((n_blocks + per - 1) / per) * (scale_bytes + (size_t)per * plane_bytes);
    const size_t skip = G == 2 && group[1] == group[0] + size ? size : 0;
    __m512 sum[2 * COLS];
    UNROLL for (int i = 0; i < G * P; i++) sum[i] = _mm512_setzero_ps();
    for (int64_t b0 = 0; b0 < n_blocks; b0 += per) {
        __m512 d_all[2], m_all[2];
        const size_t ahead = AHEAD + ((size_t)(planes[0] - group[0]) + AHEAD < size ? 0 : skip);
        UNROLL for (int g = 0; g < G; g++)
        {
            s[g] = planes[g];
            if (!next_lines)
                UNROLL for (size_t l = 0; l < scale_bytes; l += 64)
                    _mm_prefetch((const char *)s[g] + ahead + l, _MM_HINT_T0);
            planes[g] += scale_bytes;
            d_all[g] = m_all[g] = _mm512_setzero_ps();
            if (!by_256 && !by_group) continue;
            d_all[g] = halves16(s[g]);
            if (coded) d_all[g] = _mm512_mul_ps(d_all[g], factor);
            s[g] += 32;
            if (by_group) m_all[g] = negated(_mm512_mul_ps(d_all[g], unsigned16(s[g])));
            if (by_group) continue;
            if (!has_min) continue;
            m_all[g] = negated(halves16(s[g]));
            s[g] += 32;
        }
        const int n = quant_piece_count(scales, n_blocks - b0);
        for (int i = 0; i < n; i++) {
            const unsigned char *q = panel + 32 * c0, *side = panel + 32 * cols + 4 * c0;
            for (size_t l = 0; l < next_lines; l++, next += 64) _mm_prefetch((const char *)next, _MM_HINT_T1);
            if (!next_lines)
                UNROLL for (int g = 0; g < G; g++) UNROLL for (int l = 0; l < bits; l++)
                    _mm_prefetch((const char *)planes[g] + ahead + 64 * l, _MM_HINT_T0);
            __m512i acc[2 * COLS];
            const int halves = quant_by_16(scales) ? 2 : 1;
            UNROLL for (int h = 0; h < halves; h++)
            {
                __m512 d[2], m[2];
                UNROLL for (int g = 0; g < G; g++)
                {
                    m[g] = _mm512_setzero_ps();
                    if (by_group) {
                        d[g] = d_all[g];
                        m[g] = m_all[g];
                    } else if (scales == QS_E8 || scales == QS_E4M3_16) {
                        d[g] = scales == QS_E8 ? powers16(s[g]) : e4m3_16(s[g]);
                        s[g] += 16;
                    } else if (scales == QS_F16 || scales == QS_F16_MIN) {
                        d[g] = halves16(s[g]);
                        s[g] += 32;
                        if (has_min) {
                            m[g] = halves16(s[g]);
                            s[g] += 32;
                        }
                    } else if (scales == QS_K_MIN) {
                        d[g] = _mm512_mul_ps(d_all[g], unsigned16(s[g]));
                        m[g] = _mm512_mul_ps(m_all[g], unsigned16(s[g] + 16));
                        s[g] += 32;
                    } else if (scales == QS_K16_MIN) {
                        __m512i both = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)s[g]));
                        d[g] = _mm512_mul_ps(
                            d_all[g], _mm512_cvtepi32_ps(_mm512_and_si512(both, _mm512_set1_epi32(15))));
                        m[g] = _mm512_mul_ps(m_all[g], _mm512_cvtepi32_ps(_mm512_srli_epi32(both, 4)));
                        s[g] += 16;
                    } else {
                        d[g] = _mm512_mul_ps(d_all[g], signed16(s[g]));
                        s[g] += 16;
                    }
                }
                const unsigned char *neg = side + (halves == 2 ? 12 + 4 * h : 8) * cols;
                integer_dots(bits, coded, lut, offset, G, P, planes, q, neg, 8 / halves * h,
                             8 / halves * (h + 1), acc);
                UNROLL for (int c = 0; c < P; c++)
                {
                    __m512 x_scale = float_at(side + 4 * c), x_sum = _mm512_setzero_ps();
                    if (has_min && halves == 1) x_sum = float_at(side + 4 * cols + 4 * c);
                    if (has_min &&
                        halves == 2) /* x_scale * (float)sum: neg is -128 sum, a power of two is exact */
                        x_sum = _mm512_mul_ps(_mm512_mul_ps(x_scale, _mm512_set1_ps(-0.0078125f)),
                                              _mm512_cvtepi32_ps(int_at(neg + 4 * c)));
                    UNROLL for (int g = 0; g < G; g++)
                    {
                        __m512 *v = &sum[g * P + c];
                        *v = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[g * P + c]), _mm512_mul_ps(d[g], x_scale),
                                             *v);
                        if (has_min) *v = _mm512_fmadd_ps(m[g], x_sum, *v);
                    }
                }
            }
            UNROLL for (int g = 0; g < G; g++) planes[g] += plane_bytes;
            panel += cols * QUANT_ROW_BLOCK_BYTES;
        }
    }
    UNROLL for (int g = 0; g < G; g++) UNROLL for (int c = 0; c < P; c++)
        _mm512_storeu_ps(out[g][c0 + c], sum[g * P + c]);
}

/* Row counts that have code of their own; those between are done in two goes (a build of all takes minutes with checks). Few
 * rows are a matter of bandwidth: where one go serves them all, a group goes alone, one stream to read instead of two. */
#define CASE(G, P, g, ...)                                                                                   \
    if (cols - c >= P) {                                                                                     \
        dot_fixed(__VA_ARGS__, G, P, levels, group + g, n_blocks, panel, cols, c, next, next_lines,          \
                  out + g);                                                                                  \
        c += P;                                                                                              \
        next += 64 * next_lines * (size_t)n_blocks;                                                          \
        continue;                                                                                            \
    }
#define DOT(name, ...)                                                                                       \
    static void dot_##name(const struct quant_levels *levels, const unsigned char *const *group,             \
                           int n_groups, int64_t n_blocks, const unsigned char *panel, int cols,             \
                           const unsigned char *next, size_t next_lines, quant_sums *out)                    \
    {                                                                                                        \
        (void)levels;                                                                                        \
        const bool one_go = cols == 12 || cols == 8 || cols == 4 || cols <= 2;                               \
        const bool alone = n_groups == 1 || (one_go && !next_lines);                                         \
        for (int g = 0; alone && g < n_groups; g++)                                                          \
            for (int c = 0; c < cols;) {                                                                     \
                CASE(1, 12, g, __VA_ARGS__)                                                                  \
                CASE(1, 8, g, __VA_ARGS__)                                                                   \
                CASE(1, 4, g, __VA_ARGS__)                                                                   \
                CASE(1, 2, g, __VA_ARGS__)                                                                   \
                CASE(1, 1, g, __VA_ARGS__)                                                                   \
            }                                                                                                \
        for (int c = 0; !alone && c < cols;) {                                                               \
            CASE(2, 6, 0, __VA_ARGS__)                                                                       \
            CASE(2, 4, 0, __VA_ARGS__)                                                                       \
            CASE(2, 3, 0, __VA_ARGS__)                                                                       \
            CASE(2, 2, 0, __VA_ARGS__)                                                                       \
            CASE(2, 1, 0, __VA_ARGS__)                                                                       \
        }                                                                                                    \
    }
QUANT_FORMATS(DOT)

static void dot(const struct quant_format *f, const unsigned char *const *group, int n_groups,
                int64_t n_blocks, const unsigned char *panel, int cols, const unsigned char *next,
                size_t next_lines, quant_sums *out)
{
    QUANT_CHOOSE(f, dot, f->levels, group, n_groups, n_blocks, panel, cols, next, next_lines, out);
}

/* quant_round_block() in vectors. */
INLINE void round_block(const float *restrict x, unsigned char *restrict out, int cols, int c,
                        float *restrict left)
{
    __m512 x0 = _mm512_loadu_ps(x), x1 = _mm512_loadu_ps(x + 16);
    __m512 m = _mm512_max_ps(_mm512_abs_ps(x0), _mm512_abs_ps(x1));
    __m256 m8 = _mm256_max_ps(_mm512_castps512_ps256(m), _mm512_extractf32x8_ps(m, 1));
    __m128 m4 = _mm_max_ps(_mm256_castps256_ps128(m8), _mm256_extractf128_ps(m8, 1));
    m4 = _mm_max_ps(m4, _mm_movehl_ps(m4, m4));
    float amax = _mm_cvtss_f32(_mm_max_ss(m4, _mm_movehdup_ps(m4)));
    float inv = amax > 1e-30f ? 127.0f / amax : 0.0f, scale = amax > 1e-30f ? amax / 127.0f : 0.0f;

    const __m512 magic = _mm512_set1_ps(12582912.0f);
    __m512 t0 = _mm512_fmadd_ps(x0, _mm512_set1_ps(inv), magic);
    __m512 t1 = _mm512_fmadd_ps(x1, _mm512_set1_ps(inv), magic);
    if (left) { /* t - magic is q as a float */
        _mm512_storeu_ps(left, _mm512_fnmadd_ps(_mm512_set1_ps(scale), _mm512_sub_ps(t0, magic), x0));
        _mm512_storeu_ps(left + 16, _mm512_fnmadd_ps(_mm512_set1_ps(scale), _mm512_sub_ps(t1, magic), x1));
    }
    __m128i q0 = _mm512_cvtepi32_epi8(_mm512_castps_si512(t0));
    __m128i q1 = _mm512_cvtepi32_epi8(_mm512_castps_si512(t1));
    _mm_storeu_si128((__m128i *)(out + 32 * c), q0);
    _mm_storeu_si128((__m128i *)(out + 32 * c + 16), q1);
    const __m128i ones = _mm_set1_epi8(1);
    __m128i lo = _mm_dpbusd_epi32(_mm_setzero_si128(), ones, q0),
            hi = _mm_dpbusd_epi32(_mm_setzero_si128(), ones, q1);
    __m128i both = _mm_add_epi32(_mm_unpacklo_epi32(lo, hi), _mm_unpackhi_epi32(lo, hi));
    both = _mm_add_epi32(both, _mm_unpackhi_epi64(both, both)); /* [lo, hi] */
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

static int panel_rows(int64_t n) { return quant_panel_rows(n, COLS); }

const struct quant_kern quant_kern_avx512 = { panel_rows, round_rows, multiply };
