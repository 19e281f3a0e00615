/* fmath.h - exp and the activations built on it, as straight-line code that compilers turn into vectors.
 *
 * The same operations in the same order everywhere (fmaf, no contraction), so every instruction set gives the same
 * bits. Errors measured over all floats of the range: see fmath_test.c, which holds the bounds. */
#ifndef HEARTH_DEVICE_CPU_FMATH_H
#define HEARTH_DEVICE_CPU_FMATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float fmath_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint32_t fmath_word(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* yes ? a : b by mask. */
static inline float fmath_pick(int yes, float a, float b)
{
    const uint32_t m = -(uint32_t)yes;
    return fmath_bits((fmath_word(a) & m) | (fmath_word(b) & ~m));
}

/* e^x, within 2 ulp on [-87, 88]; 0 below (no denormals), e^88 above. NaN gives NaN. */
static inline float fmath_exp(float x)
{
    float c = x > 88.0f ? 88.0f : x;       /* written so that NaN passes through */
    c = fmath_pick(x < -87.0f, -88.0f, c); /* e^-88 has the exponent of zero below, and is zero */
    /* e^x = 2^n e^r with |r| <= ln2/2; adding 1.5*2^23 rounds to the nearest integer in the low mantissa bits. */
    float t = fmaf(c, 1.44269504f, 12582912.0f);
    uint32_t ti;
    memcpy(&ti, &t, sizeof ti);
    float n = t - 12582912.0f;
    float r = fmaf(n, -0.693145752f, c);
    r = fmaf(n, -1.42860677e-6f, r);
    float p = 1.98756912e-4f; /* minimax coefficients of Cephes expf */
    p = fmaf(p, r, 1.39819995e-3f);
    p = fmaf(p, r, 8.33345205e-3f);
    p = fmaf(p, r, 4.16657962e-2f);
    p = fmaf(p, r, 1.66666657e-1f);
    p = fmaf(p, r, 5.00000000e-1f);
    p = fmaf(p, r * r, r) + 1.0f;
    float two_n = fmath_bits((ti + 127u) << 23); /* the magic number's own low bits are zero */
    return p * two_n;
}

/* The same bits for x <= 0 and NaN, in a quarter fewer operations: for softmax. The power of two is added to the exponent, which does not
 * leave the normal numbers from e^-87 on. */
static inline float fmath_exp_low(float x)
{
    float t = fmaf(x, 1.44269504f, 12582912.0f);
    const uint32_t ti = fmath_word(t);
    float n = t - 12582912.0f;
    float r = fmaf(n, -0.693145752f, x);
    r = fmaf(n, -1.42860677e-6f, r);
    float p = 1.98756912e-4f;
    p = fmaf(p, r, 1.39819995e-3f);
    p = fmaf(p, r, 8.33345205e-3f);
    p = fmaf(p, r, 4.16657962e-2f);
    p = fmaf(p, r, 1.66666657e-1f);
    p = fmaf(p, r, 5.00000000e-1f);
    p = fmaf(p, r * r, r) + 1.0f;
    const uint32_t kept = -(uint32_t) !(x < -87.0f);
    return fmath_bits((fmath_word(p) + (ti << 23)) & kept);
}

static inline float fmath_sigmoid(float x) { return 1.0f / (1.0f + fmath_exp(-x)); }
static inline float fmath_silu(float x) { return x / (1.0f + fmath_exp(-x)); }

/* erf within 2 ulp: an odd polynomial near zero, 1 - e^-p(|x|) farther out (N. Juffa's published coefficients). */
static inline float fmath_erf(float x)
{
    float a = fabsf(x), q = x * x;
    float s = -5.96761703e-4f;
    s = fmaf(s, q, 4.99119423e-3f);
    s = fmaf(s, q, -2.67681349e-2f);
    s = fmaf(s, q, 1.12819925e-1f);
    s = fmaf(s, q, -3.76125336e-1f);
    s = fmaf(s, q, 1.28379166e-1f);
    float near = fmaf(s, a, a);
    const float c = fmath_pick(a > 4.0f, 4.0f, a);
    float p = -1.72853470e-5f;
    p = fmaf(p, c, 3.83197126e-4f);
    p = fmaf(p, c, -3.88396438e-3f);
    p = fmaf(p, c, 2.42546219e-2f);
    p = fmaf(p, c, -1.06777877e-1f);
    p = fmaf(p, c, -6.34846687e-1f);
    p = fmaf(p, c, -1.28717512e-1f);
    p = fmaf(p, c, -c);
    float far = 1.0f - fmath_exp(p);
    return copysignf(fmath_pick(a < 0.9277f, near, far), x);
}

static inline float fmath_gelu_erf(float x) { return 0.5f * x * (1.0f + fmath_erf(x * 0.707106781f)); }
/* 0.5x(1 + tanh(z)) = x * sigmoid(2z), z = sqrt(2/pi) (x + 0.044715 x^3) */
static inline float fmath_gelu_tanh(float x)
{
    float z2 = 1.59576912f * fmaf(0.044715f * x * x, x, x);
    return x * fmath_sigmoid(z2);
}
static inline float fmath_quick_gelu(float x) { return x * fmath_sigmoid(1.702f * x); }

/* Sine and cosine of an angle of any size up to 2^20: positions times frequencies. The quarter turns are taken off in
 * double, exactly enough that the remainder is right to f32. */
static inline void fmath_sincos(float angle, float *sine, float *cosine)
{
    double a = (double)angle;
    double k = fma(a, 0.63661977236758134308, 6755399441055744.0); /* + 1.5 * 2^52: nearest integer */
    uint64_t quarter;
    memcpy(&quarter, &k, sizeof quarter);
    k -= 6755399441055744.0;
    double r = fma(k, -1.5707963267948965580, a);
    r = fma(k, -6.1232339957367660e-17, r);
    float x = (float)r, q = x * x;
    float s = 2.71831149e-6f; /* minimax on [-pi/4, pi/4] */
    s = fmaf(s, q, -1.98393348e-4f);
    s = fmaf(s, q, 8.33329286e-3f);
    s = fmaf(s, q, -1.66666657e-1f);
    s = fmaf(s * q, x, x);
    float c = 2.43904487e-5f;
    c = fmaf(c, q, -1.38867637e-3f);
    c = fmaf(c, q, 4.16666418e-2f);
    c = fmaf(c, q, -5.00000000e-1f);
    c = fmaf(c, q, 1.0f);
    int odd = (int)(quarter & 1);
    float ss = odd ? c : s, cc = odd ? s : c;
    *sine = quarter & 2 ? -ss : ss;
    *cosine = (quarter + 1) & 2 ? -cc : cc;
}

#endif
