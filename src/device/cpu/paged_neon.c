/* paged_neon.c - the paged cache with 128-bit vectors: a page's scores are eight registers a query. */
#include <arm_neon.h>

#define V_LANES 4
#define V_GROUP 8
typedef float32x4_t vf;
static inline vf vf_zero(void) { return vdupq_n_f32(0.0f); }
static inline vf vf_set1(float f) { return vdupq_n_f32(f); }
static inline vf vf_load(const float *p) { return vld1q_f32(p); }
static inline void vf_store(float *p, vf v) { vst1q_f32(p, v); }
static inline vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
static inline vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
static inline vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
static inline vf vf_max(vf a, vf b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
} /* as plain C: of NaN the second */
static inline float vf_top(vf v)
{
    v = vf_max(v, vextq_f32(v, v, 2));
    return vgetq_lane_f32(vf_max(v, vextq_f32(v, v, 1)), 0);
}
static inline float vf_sum(vf v)
{
    v = vaddq_f32(v, vextq_f32(v, v, 2));
    return vgetq_lane_f32(v, 0) + vgetq_lane_f32(v, 1);
}
/* Lane i of the result is all lanes of v[i], folded by `op` as above: two vectors become one of their halves, and so on. */
#define FOLD4(name, op)                                                                                      \
    static inline vf name(const vf v[4])                                                                     \
    {                                                                                                        \
        vf h[2];                                                                                             \
        for (int i = 0; i < 2; i++) {                                                                        \
            const float64x2_t a = vreinterpretq_f64_f32(v[i]), b = vreinterpretq_f64_f32(v[i + 2]);          \
            h[i] = op(vreinterpretq_f32_f64(vzip1q_f64(a, b)), vreinterpretq_f32_f64(vzip2q_f64(a, b)));     \
        }                                                                                                    \
        const vf all = op(vuzp1q_f32(h[0], h[1]), vuzp2q_f32(h[0], h[1])); /* of 0, 2, 1, 3 */               \
        return vzip1q_f32(all, vextq_f32(all, all, 2));                                                      \
    }
FOLD4(vf_tops, vf_max)
FOLD4(vf_sums, vf_add)
static inline vf vf_half(const unsigned char *p) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))); }
static inline vf vf_i8(const unsigned char *p)
{
    unsigned four;
    __builtin_memcpy(&four, p, 4);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four))))));
}
static inline unsigned short half_bits(float f)
{
    return vget_lane_u16(vreinterpret_u16_f16(vcvt_f16_f32(vdupq_n_f32(f))), 0);
}
static inline float half_value(unsigned short h)
{
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h))), 0);
}
static inline void put_half(unsigned short *p, const float *x, int n)
{
    int i = 0;
    for (; i + 4 <= n; i += 4) vst1_u16(p + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(x + i))));
    for (; i < n; i++) p[i] = half_bits(x[i]);
}

#include "device/cpu/paged_body.h"

const struct attn_kern attn_kern_neon = { rope, put, attend };
