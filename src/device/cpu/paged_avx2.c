/* paged_avx2.c - the paged cache with 256-bit vectors: a page's scores are four registers a query. */
#include <immintrin.h>

#define V_LANES 8
#define V_GROUP 6
typedef __m256 vf;
static inline vf vf_zero(void) { return _mm256_setzero_ps(); }
static inline vf vf_set1(float f) { return _mm256_set1_ps(f); }
static inline vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void vf_store(float *p, vf v) { _mm256_storeu_ps(p, v); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
static inline float vf_top(vf v)
{
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}
static inline float vf_sum(vf v)
{
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
/* Lane i of the result is all lanes of v[i], folded by `op` as above: two vectors become one of their halves, and so on. */
#define FOLD8(name, op)                                                                                      \
    static inline vf name(const vf v[8])                                                                     \
    {                                                                                                        \
        vf h[4];                                                                                             \
        for (int i = 0; i < 4; i++)                                                                          \
            h[i] = op(_mm256_permute2f128_ps(v[i], v[i + 4], 0x20),                                          \
                      _mm256_permute2f128_ps(v[i], v[i + 4], 0x31));                                         \
        for (int i = 0; i < 2; i++)                                                                          \
            h[i] = op(_mm256_shuffle_ps(h[i], h[i + 2], 0x44), _mm256_shuffle_ps(h[i], h[i + 2], 0xee));     \
        h[0] = op(_mm256_shuffle_ps(h[0], h[1], 0x88), _mm256_shuffle_ps(h[0], h[1], 0xdd));                 \
        return _mm256_permutevar8x32_ps(h[0], _mm256_setr_epi32(0, 2, 1, 3, 4, 6, 5, 7));                    \
    }
FOLD8(vf_tops, vf_max)
FOLD8(vf_sums, vf_add)
static inline vf vf_half(const unsigned char *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
static inline vf vf_i8(const unsigned char *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
static inline unsigned short half_bits(float f) { return _cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT); }
static inline float half_value(unsigned short h) { return _cvtsh_ss(h); }
static inline void put_half(unsigned short *p, const float *x, int n)
{
    int i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(p + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < n; i++) p[i] = half_bits(x[i]);
}

#include "device/cpu/paged_body.h"

const struct attn_kern attn_kern_avx2 = { rope, put, attend };
