/* paged_avx512.c - the paged cache with 512-bit vectors: a page's scores are two registers a query. */
#include <immintrin.h>

#define V_LANES 16
#define V_GROUP 8
typedef __m512 vf;
static inline vf vf_zero(void) { return _mm512_setzero_ps(); }
static inline vf vf_set1(float f) { return _mm512_set1_ps(f); }
static inline vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void vf_store(float *p, vf v) { _mm512_storeu_ps(p, v); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline float vf_top(vf v)
{
    __m256 h = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}
static inline float vf_sum(vf v)
{
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
/* Lane i of the result is all lanes of v[i], folded by `op` as above: two vectors become one of their halves, and so on. */
#define FOLD16(name, op)                                                                                     \
    static inline vf name(const vf v[16])                                                                    \
    {                                                                                                        \
        vf h[8];                                                                                             \
        for (int i = 0; i < 8; i++)                                                                          \
            h[i] =                                                                                           \
                op(_mm512_shuffle_f32x4(v[i], v[i + 8], 0x44), _mm512_shuffle_f32x4(v[i], v[i + 8], 0xee));  \
        for (int i = 0; i < 4; i++)                                                                          \
            h[i] =                                                                                           \
                op(_mm512_shuffle_f32x4(h[i], h[i + 4], 0x88), _mm512_shuffle_f32x4(h[i], h[i + 4], 0xdd));  \
        for (int i = 0; i < 2; i++)                                                                          \
            h[i] = op(_mm512_shuffle_ps(h[i], h[i + 2], 0x44), _mm512_shuffle_ps(h[i], h[i + 2], 0xee));     \
        h[0] = op(_mm512_shuffle_ps(h[0], h[1], 0x88), _mm512_shuffle_ps(h[0], h[1], 0xdd));                 \
        return _mm512_permutexvar_ps(                                                                        \
            _mm512_setr_epi32(0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15), h[0]);                  \
    }
FOLD16(vf_tops, vf_max)
FOLD16(vf_sums, vf_add)
static inline vf vf_half(const unsigned char *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline vf vf_i8(const unsigned char *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
static inline unsigned short half_bits(float f) { return _cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT); }
static inline float half_value(unsigned short h) { return _cvtsh_ss(h); }
static inline void put_half(unsigned short *p, const float *x, int n)
{
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = n - i < 16 ? (__mmask16)((1u << (n - i)) - 1) : (__mmask16)0xffff;
        __m256i h = _mm512_cvtps_ph(_mm512_maskz_loadu_ps(m, x + i), _MM_FROUND_TO_NEAREST_INT);
        _mm256_mask_storeu_epi16(p + i, m, h);
    }
}

#include "device/cpu/paged_body.h"

const struct attn_kern attn_kern_avx512 = { rope, put, attend };
