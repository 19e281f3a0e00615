/* weights.cuh - eight elements of a row of weights, as f32: each type as format/quant.h lays it out. */
#ifndef HEARTH_DEVICE_CUDA_WEIGHTS_CUH
#define HEARTH_DEVICE_CUDA_WEIGHTS_CUH

#include "device/cuda/kernels/gpu.h"
#include "format/tensor.h"

static __device__ __forceinline__ float float_of(uint32_t bits)
{
    union {
        uint32_t u;
        float f;
    } v;
    v.u = bits;
    return v.f;
}

static __device__ __forceinline__ uint32_t two_bytes(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8;
}
static __device__ __forceinline__ uint32_t four_bytes(const unsigned char *p)
{
    return two_bytes(p) | two_bytes(p + 2) << 16;
}
static __device__ __forceinline__ float half_at(const unsigned char *p)
{
    return half_value((uint16_t)two_bytes(p));
}

/* e4m3fn: no infinities, 0x7f is NaN. e5m2 is the upper half of an f16. */
static __device__ __forceinline__ float e4m3_value(unsigned char v)
{
    const uint32_t sign = (uint32_t)(v & 0x80) << 24, exp = v >> 3 & 15, man = v & 7;
    if (exp == 15 && man == 7) return float_of(sign | 0x7fc00000u);
    if (exp == 0) return float_of(sign | 0x3f800000u) * (float)man * 0.001953125f; /* 2^-9 */
    return float_of(sign | (exp + 120) << 23 | man << 20);
}

/* The level behind a nibble of IQ4. */
static __device__ __forceinline__ float iq4_value(int q)
{
    const uint64_t low = 0xf6eaddcfbfad9881ull,
                   high = 0x7159453526190d01ull; /* -127 -104 .. -10, 1 13 .. 113 */
    return (float)(int8_t)((q < 8 ? low : high) >> 8 * (q & 7));
}

/* Scale and minimum of sub-block j of a q4_k or q5_k: six bits each, twelve bytes. */
static __device__ __forceinline__ void k_scale_min(const unsigned char *s, int j, float *scale, float *min)
{
    if (j < 4) {
        *scale = (float)(s[j] & 63);
        *min = (float)(s[j + 4] & 63);
    } else {
        *scale = (float)((s[j + 4] & 15) | s[j - 4] >> 6 << 4);
        *min = (float)(s[j + 4] >> 4 | s[j] >> 6 << 4);
    }
}

/* Of blocks of 32: nibble i of a half. at: the first of the eight within the block. */
static __device__ __forceinline__ int nibble(const unsigned char *qs, int e)
{
    return qs[e & 15] >> (e & 16 ? 4 : 0) & 15;
}

static __device__ void small_block(int type, const unsigned char *row, int64_t k, float w[8])
{
    const int at = (int)(k & 31);
    const int64_t block = k >> 5;
    const unsigned char *b;
    switch (type) {
    case DT_Q4_0:
    case DT_IQ4_NL: {
        b = row + block * 18;
        const float d = half_at(b);
        for (int i = 0; i < 8; i++) {
            const int q = nibble(b + 2, at + i);
            w[i] = d * (type == DT_IQ4_NL ? iq4_value(q) : (float)(q - 8));
        }
        return;
    }
    case DT_Q4_1: {
        b = row + block * 20;
        const float d = half_at(b), m = half_at(b + 2);
        for (int i = 0; i < 8; i++) w[i] = d * (float)nibble(b + 4, at + i) + m;
        return;
    }
    case DT_Q5_0: {
        b = row + block * 22;
        const float d = half_at(b);
        const uint32_t high = four_bytes(b + 2);
        for (int i = 0; i < 8; i++)
            w[i] = d * (float)((int)(nibble(b + 6, at + i) | (high >> (at + i) & 1) << 4) - 16);
        return;
    }
    case DT_Q5_1: {
        b = row + block * 24;
        const float d = half_at(b), m = half_at(b + 2);
        const uint32_t high = four_bytes(b + 4);
        for (int i = 0; i < 8; i++)
            w[i] = d * (float)(nibble(b + 8, at + i) | (high >> (at + i) & 1) << 4) + m;
        return;
    }
    default: { /* DT_Q8_0 */
        b = row + block * 34;
        const float d = half_at(b);
        for (int i = 0; i < 8; i++) w[i] = d * (float)(int8_t)b[2 + at + i];
    }
    }
}

static __device__ __forceinline__ int two_bits_at(const unsigned char *qs, int e)
{
    return qs[32 * (e >> 7) + (e & 31)] >> 2 * (e >> 5 & 3) & 3;
}

static __device__ void k_block(int type, const unsigned char *row, int64_t k, float w[8])
{
    const int at = (int)(k & 255), j = at >> 5;
    const int64_t block = k >> 8;
    const unsigned char *b;
    switch (type) {
    case DT_Q2_K: {
        b = row + block * 84;
        const float d = half_at(b + 80), dmin = half_at(b + 82);
        const float scale = d * (float)(b[at >> 4] & 15), min = dmin * (float)(b[at >> 4] >> 4);
        for (int i = 0; i < 8; i++) w[i] = scale * (float)two_bits_at(b + 16, at + i) - min;
        return;
    }
    case DT_Q3_K: {
        b = row + block * 110;
        const unsigned char *s = b + 96;
        const int g = at >> 4; /* six bits: the low four of eight bytes, then two of four */
        const int low = g < 8 ? s[g] & 15 : s[g - 8] >> 4, high = s[8 + (g & 3)] >> 2 * (g >> 2) & 3;
        const float scale = half_at(b + 108) * (float)((low | high << 4) - 32);
        for (int i = 0; i < 8; i++) {
            const int e = at + i, bit = b[e & 31] >> (e >> 5) & 1;
            w[i] = scale * (float)(two_bits_at(b + 32, e) - (bit ? 0 : 4));
        }
        return;
    }
    case DT_Q4_K: {
        b = row + block * 144;
        float scale, min;
        k_scale_min(b + 4, j, &scale, &min);
        scale *= half_at(b);
        min *= half_at(b + 2);
        const unsigned char *qs = b + 16 + 32 * (j >> 1) + (at & 31);
        for (int i = 0; i < 8; i++) w[i] = scale * (float)(qs[i] >> 4 * (j & 1) & 15) - min;
        return;
    }
    case DT_Q5_K: {
        b = row + block * 176;
        float scale, min;
        k_scale_min(b + 4, j, &scale, &min);
        scale *= half_at(b);
        min *= half_at(b + 2);
        const unsigned char *qh = b + 16 + (at & 31), *qs = b + 48 + 32 * (j >> 1) + (at & 31);
        for (int i = 0; i < 8; i++)
            w[i] = scale * (float)((qs[i] >> 4 * (j & 1) & 15) | (qh[i] >> j & 1) << 4) - min;
        return;
    }
    case DT_Q6_K: {
        b = row + block * 210;
        const int h = at >> 7, s = at >> 5 & 3;
        const float scale = half_at(b + 208) * (float)(int8_t)b[192 + (at >> 4)];
        const unsigned char *ql = b + 64 * h + 32 * (s & 1) + (at & 31), *qh = b + 128 + 32 * h + (at & 31);
        for (int i = 0; i < 8; i++)
            w[i] = scale * (float)(((ql[i] >> 4 * (s >> 1) & 15) | (qh[i] >> 2 * s & 3) << 4) - 32);
        return;
    }
    default: { /* DT_IQ4_XS */
        b = row + block * 136;
        const int low = b[4 + (j >> 1)] >> 4 * (j & 1) & 15, high = two_bytes(b + 2) >> 2 * j & 3;
        const float scale = half_at(b) * (float)((low | high << 4) - 32);
        for (int i = 0; i < 8; i++) w[i] = scale * iq4_value(nibble(b + 8 + 16 * j, (at & 31) + i));
    }
    }
}

/* Elements k..k+7 of a row, k a multiple of 8; zeros behind its end. Without the matrix's scale. */
static __device__ void weights_8(int type, const unsigned char *row, int64_t k, int64_t n, float w[8])
{
    const int left = n - k < 8 ? (int)(n - k) : 8;
    switch (type) {
    case DT_F32:
        for (int i = 0; i < 8; i++) w[i] = i < left ? float_of(four_bytes(row + 4 * (k + i))) : 0;
        return;
    case DT_F16:
        for (int i = 0; i < 8; i++) w[i] = i < left ? half_at(row + 2 * (k + i)) : 0;
        return;
    case DT_BF16:
        for (int i = 0; i < 8; i++) w[i] = i < left ? float_of(two_bytes(row + 2 * (k + i)) << 16) : 0;
        return;
    case DT_F8_E4M3:
        for (int i = 0; i < 8; i++) w[i] = i < left ? e4m3_value(row[k + i]) : 0;
        return;
    case DT_F8_E5M2:
        for (int i = 0; i < 8; i++) w[i] = i < left ? half_value((uint16_t)(row[k + i] << 8)) : 0;
        return;
    case DT_I8:
        for (int i = 0; i < 8; i++) w[i] = i < left ? (float)(int8_t)row[k + i] : 0;
        return;
    case DT_Q4_0:
    case DT_Q4_1:
    case DT_Q5_0:
    case DT_Q5_1:
    case DT_Q8_0:
    case DT_IQ4_NL: small_block(type, row, k, w); return;
    default: k_block(type, row, k, w);
    }
}

/* With it. */
static __device__ __forceinline__ void matrix_8(const struct gpu_matrix *m, int64_t o, int64_t k, float w[8])
{
    weights_8(m->type, m->data + o * m->row_bytes, k, m->n_in, w);
    if (!m->scale) return;
    const float *scale = m->scale + o / m->scale_rows * m->scale_across;
    if (m->scale_cols % 8 == 0 || m->scale_across == 1) {
        const float by = scale[k / m->scale_cols];
        for (int i = 0; i < 8; i++) w[i] *= by;
    } else {
        for (int i = 0; i < 8 && k + i < m->n_in; i++) w[i] *= scale[(k + i) / m->scale_cols];
    }
}

#endif
