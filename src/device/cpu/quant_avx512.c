/* quant_avx512.c - the quantised product with 512-bit VNNI: 16 weight rows in the lanes, up to 12 activation rows. */
#include "device/cpu/quant_512.h"

/* Rows of a panel: 12 sums and 12 integer sums leave registers for the weights. */
#define COLS 12
/* Bytes ahead of the present block that weights are asked for: far enough for DRAM, one page at most. */
#define AHEAD 4096

/* acc + the four products of each lane's bytes of w with the four bytes at q. Written out because compilers load the
 * broadcast into a register of its own first, and there are none to spare. */
INLINE __m512i dot4(__m512i acc, __m512i w, const unsigned char *q)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*(const int32_t(*)[1])q));
    return acc;
}

/* Words [j0, j1) of a block times P rows: acc[c] starts from -offset * (sum of the row's q). */
INLINE void integer_dots(const int bits, const bool iq4, const int offset, const int P,
                         const unsigned char *planes, const unsigned char *q, const unsigned char *neg,
                         const int j0, const int j1, __m512i *acc)
{
    const int shift = offset == 128 ? 0 : offset == 32 ? 2 : offset == 16 ? 3 : offset == 8 ? 4 : 5;
    UNROLL for (int c = 0; c < P; c++) acc[c] =
        offset ? _mm512_srai_epi32(int_at(neg + 4 * c), (unsigned)shift) : _mm512_setzero_si512();
    UNROLL for (int j = j0; j < j1; j++)
    {
        __m512i w = word(bits, iq4, planes, j);
        UNROLL for (int c = 0; c < P; c++) acc[c] = dot4(acc[c], w, q + 32 * c + 4 * j);
    }
}

INLINE void dot_fixed(const int bits, const bool iq4, const int offset, const enum quant_scales scales,
                      const int P, const unsigned char *planes, int64_t n_blocks, const unsigned char *panel,
                      int cols, int c0, float (*out)[QUANT_GROUP])
{
    const size_t plane_bytes = (size_t)bits * 64;
    const bool by_256 = scales != QS_F16 && scales != QS_F16_MIN;
    const unsigned char *s = planes + plane_bytes * (size_t)n_blocks;
    __m512 sum[COLS];
    UNROLL for (int c = 0; c < P; c++) sum[c] = _mm512_setzero_ps();
    for (int64_t b0 = 0; b0 < n_blocks; b0 += by_256 ? 8 : 1) {
        __m512 d_all = _mm512_setzero_ps(), m_all = _mm512_setzero_ps();
        if (by_256) {
            d_all = halves16(s);
            s += 32;
            if (scales == QS_K_MIN || scales == QS_K16_MIN) {
                m_all = negated(halves16(s));
                s += 32;
            }
        }
        for (int i = 0; i < (by_256 ? 8 : 1); i++) {
            const unsigned char *q = panel + 32 * c0, *side = panel + 32 * cols + 4 * c0;
            for (int l = 0; l < bits; l++) _mm_prefetch((const char *)planes + AHEAD + 64 * l, _MM_HINT_T0);
            __m512i acc[COLS];
            if (scales != QS_K16 && scales != QS_K16_MIN) {
                __m512 d, m = _mm512_setzero_ps();
                if (scales == QS_F16 || scales == QS_F16_MIN) {
                    d = halves16(s);
                    s += 32;
                    if (scales == QS_F16_MIN) {
                        m = halves16(s);
                        s += 32;
                    }
                } else if (scales == QS_K_MIN) {
                    d = _mm512_mul_ps(d_all, unsigned16(s));
                    m = _mm512_mul_ps(m_all, unsigned16(s + 16));
                    s += 32;
                } else {
                    d = _mm512_mul_ps(d_all, signed16(s));
                    s += 16;
                }
                integer_dots(bits, iq4, offset, P, planes, q, side + 8 * cols, 0, 8, acc);
                UNROLL for (int c = 0; c < P; c++)
                {
                    sum[c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[c]),
                                             _mm512_mul_ps(d, float_at(side + 4 * c)), sum[c]);
                    if (offset == 0) sum[c] = _mm512_fmadd_ps(m, float_at(side + 4 * cols + 4 * c), sum[c]);
                }
            } else {
                UNROLL for (int h = 0; h < 2; h++, s += 16)
                {
                    __m512 d, m = _mm512_setzero_ps();
                    if (scales == QS_K16) {
                        d = _mm512_mul_ps(d_all, signed16(s));
                    } else {
                        __m512i both = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)s));
                        d = _mm512_mul_ps(d_all,
                                          _mm512_cvtepi32_ps(_mm512_and_si512(both, _mm512_set1_epi32(15))));
                        m = _mm512_mul_ps(m_all, _mm512_cvtepi32_ps(_mm512_srli_epi32(both, 4)));
                    }
                    const unsigned char *neg = side + (12 + 4 * h) * cols;
                    integer_dots(bits, iq4, offset, P, planes, q, neg, 4 * h, 4 * h + 4, acc);
                    UNROLL for (int c = 0; c < P; c++)
                    {
                        __m512 x_scale = float_at(side + 4 * c);
                        sum[c] =
                            _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[c]), _mm512_mul_ps(d, x_scale), sum[c]);
                        if (offset ==
                            0) { /* x_scale * (float)sum: neg is -128 sum, and a power of two is exact */
                            __m512 n = _mm512_cvtepi32_ps(int_at(neg + 4 * c));
                            __m512 x_sum =
                                _mm512_mul_ps(_mm512_mul_ps(x_scale, _mm512_set1_ps(-0.0078125f)), n);
                            sum[c] = _mm512_fmadd_ps(m, x_sum, sum[c]);
                        }
                    }
                }
            }
            planes += plane_bytes;
            panel += cols * QUANT_ROW_BLOCK_BYTES;
        }
    }
    UNROLL for (int c = 0; c < P; c++) _mm512_storeu_ps(out[c0 + c], sum[c]);
}

/* Row counts that have code of their own; those between are done in two goes (a build of all takes minutes with checks). */
#define CASE(P, ...)                                                                                         \
    if (cols - c >= P) {                                                                                     \
        dot_fixed(__VA_ARGS__, P, group, n_blocks, panel, cols, c, out);                                     \
        c += P;                                                                                              \
        continue;                                                                                            \
    }
#define DOT(name, ...)                                                                                       \
    static void dot_##name(const unsigned char *group, int64_t n_blocks, const unsigned char *panel,         \
                           int cols, float(*out)[QUANT_GROUP])                                               \
    {                                                                                                        \
        for (int c = 0; c < cols;) {                                                                         \
            CASE(12, __VA_ARGS__)                                                                            \
            CASE(8, __VA_ARGS__)                                                                             \
            CASE(6, __VA_ARGS__)                                                                             \
            CASE(4, __VA_ARGS__)                                                                             \
            CASE(3, __VA_ARGS__)                                                                             \
            CASE(2, __VA_ARGS__)                                                                             \
            CASE(1, __VA_ARGS__)                                                                             \
        }                                                                                                    \
    }
QUANT_FORMATS(DOT)

static void dot(const struct quant_format *f, const unsigned char *group, int64_t n_blocks,
                const unsigned char *panel, int cols, float (*out)[QUANT_GROUP])
{
    QUANT_CHOOSE(f, dot, group, n_blocks, panel, cols, out);
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
