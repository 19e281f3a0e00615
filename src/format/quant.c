/* quant.c - what each element type means, in plain C: every faster version is tested against this one. */
#include "format/quant.h"

#include <string.h>

#include "format/quant_codes.h"

/* The 16 levels of IQ4_NL and IQ4_XS. */
static const int8_t iq4_values[16] = { -127, -104, -83, -65, -49, -35, -22, -10,
                                       1,    13,   25,  38,  53,  69,  89,  113 };

/* One block at a time is copied out of the file: the source may lie at any address. */

static void block_q4_0(const struct q4_0 *b, float *y)
{
    float d = f16_to_f32(b->d);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)((b->qs[i] & 15) - 8);
        y[i + 16] = d * (float)((b->qs[i] >> 4) - 8);
    }
}

static void block_q4_1(const struct q4_1 *b, float *y)
{
    float d = f16_to_f32(b->d), m = f16_to_f32(b->m);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)(b->qs[i] & 15) + m;
        y[i + 16] = d * (float)(b->qs[i] >> 4) + m;
    }
}

/* Bit 4 of element i, in place. */
static int fifth_bit(const uint8_t qh[4], int i) { return (qh[i >> 3] >> (i & 7) & 1) << 4; }

static void block_q5_0(const struct q5_0 *b, float *y)
{
    float d = f16_to_f32(b->d);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)(((b->qs[i] & 15) | fifth_bit(b->qh, i)) - 16);
        y[i + 16] = d * (float)((b->qs[i] >> 4 | fifth_bit(b->qh, i + 16)) - 16);
    }
}

static void block_q5_1(const struct q5_1 *b, float *y)
{
    float d = f16_to_f32(b->d), m = f16_to_f32(b->m);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)((b->qs[i] & 15) | fifth_bit(b->qh, i)) + m;
        y[i + 16] = d * (float)(b->qs[i] >> 4 | fifth_bit(b->qh, i + 16)) + m;
    }
}

static void block_q8_0(const struct q8_0 *b, float *y)
{
    float d = f16_to_f32(b->d);
    for (int i = 0; i < 32; i++) y[i] = d * (float)b->qs[i];
}

static void block_iq4_nl(const struct iq4_nl *b, float *y)
{
    float d = f16_to_f32(b->d);
    for (int i = 0; i < 16; i++) {
        y[i] = d * (float)iq4_values[b->qs[i] & 15];
        y[i + 16] = d * (float)iq4_values[b->qs[i] >> 4];
    }
}

/* Element e of the two-bit fields of a q2_k or q3_k. */
static int two_bits(const uint8_t qs[64], int e)
{
    return qs[32 * (e >> 7) + (e & 31)] >> 2 * (e >> 5 & 3) & 3;
}

static void block_q2_k(const struct q2_k *b, float *y)
{
    float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
    for (int j = 0; j < 16; j++) {
        float scale = d * (float)(b->scales[j] & 15), min = dmin * (float)(b->scales[j] >> 4);
        for (int e = 16 * j; e < 16 * j + 16; e++) y[e] = scale * (float)two_bits(b->qs, e) - min;
    }
}

static void block_q3_k(const struct q3_k *b, float *y)
{
    int8_t scales[16];
    quant_q3_k_scales(b->scales, scales);
    float d = f16_to_f32(b->d);
    for (int j = 0; j < 16; j++) {
        float scale = d * (float)scales[j];
        for (int e = 16 * j; e < 16 * j + 16; e++) {
            int high = b->hmask[e & 31] >> (e >> 5) & 1;
            y[e] = scale * (float)(two_bits(b->qs, e) - (high ? 0 : 4));
        }
    }
}

static void block_q4_k(const struct q4_k *b, float *y)
{
    float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
    for (int j = 0; j < 8; j++) {
        uint8_t sc, m;
        quant_k_scale_min(b->scales, j, &sc, &m);
        float scale = d * (float)sc, min = dmin * (float)m;
        const uint8_t *qs = b->qs + 32 * (j >> 1);
        for (int i = 0; i < 32; i++) y[32 * j + i] = scale * (float)(qs[i] >> 4 * (j & 1) & 15) - min;
    }
}

static void block_q5_k(const struct q5_k *b, float *y)
{
    float d = f16_to_f32(b->d), dmin = f16_to_f32(b->dmin);
    for (int j = 0; j < 8; j++) {
        uint8_t sc, m;
        quant_k_scale_min(b->scales, j, &sc, &m);
        float scale = d * (float)sc, min = dmin * (float)m;
        const uint8_t *qs = b->qs + 32 * (j >> 1);
        for (int i = 0; i < 32; i++) {
            int q = (qs[i] >> 4 * (j & 1) & 15) | (b->qh[i] >> j & 1) << 4;
            y[32 * j + i] = scale * (float)q - min;
        }
    }
}

static void block_q6_k(const struct q6_k *b, float *y)
{
    float d = f16_to_f32(b->d);
    for (int e = 0; e < QK_K; e++) {
        int h = e >> 7, s = e >> 5 & 3, i = e & 31;
        int low = b->ql[64 * h + 32 * (s & 1) + i] >> 4 * (s >> 1) & 15;
        int high = b->qh[32 * h + i] >> 2 * s & 3;
        y[e] = d * (float)b->scales[e >> 4] * (float)((low | high << 4) - 32);
    }
}

static void block_iq4_xs(const struct iq4_xs *b, float *y)
{
    float d = f16_to_f32(b->d);
    for (int j = 0; j < 8; j++) {
        int low = b->scales_l[j >> 1] >> 4 * (j & 1) & 15, high = b->scales_h >> 2 * j & 3;
        float scale = d * (float)((low | high << 4) - 32);
        for (int i = 0; i < 16; i++) {
            y[32 * j + i] = scale * (float)iq4_values[b->qs[16 * j + i] & 15];
            y[32 * j + i + 16] = scale * (float)iq4_values[b->qs[16 * j + i] >> 4];
        }
    }
}

static void block_tq1_0(const struct tq1_0 *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int j = 0; j < QK_K / 32; j++) {
        uint8_t q[32];
        quant_ternary(b, j, q);
        for (int i = 0; i < 32; i++) y[32 * j + i] = d * (float)(q[i] - 1);
    }
}

static void block_tq2_0(const struct tq2_0 *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int e = 0; e < QK_K; e++) y[e] = d * (float)(two_bits(b->qs, e) - 1);
}

static void block_w4_128(const struct w4_128 *b, float *y)
{
    const float d = f16_to_f32(b->d);
    for (int e = 0; e < QK_W4; e++)
        y[e] = d * (float)((b->qs[e / 32 * 16 + e % 16] >> (e & 16 ? 4 : 0) & 15) - b->zero);
}

/* What a half of sub-block j is multiplied by, before its own scale. */
static float codes_d(enum dtype t, const unsigned char *block, int half)
{
    if (t == DT_MXFP4) return quant_e8m0_half(block[0]);
    if (t == DT_NVFP4) return quant_ue4m3_half(block[half]);
    return f16_to_f32(quant_codes_d(t, block));
}

/* A block of codes, in units of its levels' factor: nothing is rounded. */
static void block_of_codes(enum dtype t, const unsigned char *block, float *y)
{
    const struct quant_levels *levels = quant_levels_of(t);
    for (int j = 0; j < dtype_info(t)->block_elems / 32; j++) {
        uint8_t code[32];
        int8_t scale[2];
        quant_codes(t, block, j, code, scale);
        for (int i = 0; i < 32; i++) {
            const int h = i / 16;
            const float d = codes_d(t, block, 2 * j + h) * (levels->factor * (float)scale[h]);
            *y++ = d * (float)levels->value[code[i]];
        }
    }
}

static void f16_row(const unsigned char *src, float *dst, int64_t n, float (*convert)(uint16_t))
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t v;
        memcpy(&v, src + 2 * i, 2);
        dst[i] = convert(v);
    }
}

/* Rows of ctype at any address, converted by C's own rules; and rows of blocks. */
#define SCALAR_ROW(ctype)                                                                                    \
    for (int64_t i = 0; i < n; i++) {                                                                        \
        ctype v;                                                                                             \
        memcpy(&v, s + (size_t)i * sizeof v, sizeof v);                                                      \
        dst[i] = (float)v;                                                                                   \
    }                                                                                                        \
    break
#define BLOCK_ROW(name, elems)                                                                               \
    for (int64_t i = 0; i < n / (elems); i++) {                                                              \
        struct name b;                                                                                       \
        memcpy(&b, s + (size_t)i * sizeof b, sizeof b);                                                      \
        block_##name(&b, dst + i * (elems));                                                                 \
    }                                                                                                        \
    break

void dequant_row(enum dtype t, const void *src, float *dst, int64_t n)
{
    const unsigned char *s = src;
    switch (t) {
    case DT_F32: memcpy(dst, s, (size_t)n * sizeof *dst); break;
    case DT_F16: f16_row(s, dst, n, f16_to_f32); break;
    case DT_BF16: f16_row(s, dst, n, bf16_to_f32); break;
    case DT_F8_E4M3:
        for (int64_t i = 0; i < n; i++) dst[i] = f8_e4m3_to_f32(s[i]);
        break;
    case DT_F8_E5M2:
        for (int64_t i = 0; i < n; i++) dst[i] = f8_e5m2_to_f32(s[i]);
        break;
    case DT_Q4_0: BLOCK_ROW(q4_0, QK_SMALL);
    case DT_Q4_1: BLOCK_ROW(q4_1, QK_SMALL);
    case DT_Q5_0: BLOCK_ROW(q5_0, QK_SMALL);
    case DT_Q5_1: BLOCK_ROW(q5_1, QK_SMALL);
    case DT_Q8_0: BLOCK_ROW(q8_0, QK_SMALL);
    case DT_IQ4_NL: BLOCK_ROW(iq4_nl, QK_SMALL);
    case DT_Q2_K: BLOCK_ROW(q2_k, QK_K);
    case DT_Q3_K: BLOCK_ROW(q3_k, QK_K);
    case DT_Q4_K: BLOCK_ROW(q4_k, QK_K);
    case DT_Q5_K: BLOCK_ROW(q5_k, QK_K);
    case DT_Q6_K: BLOCK_ROW(q6_k, QK_K);
    case DT_IQ4_XS: BLOCK_ROW(iq4_xs, QK_K);
    case DT_TQ1_0: BLOCK_ROW(tq1_0, QK_K);
    case DT_TQ2_0: BLOCK_ROW(tq2_0, QK_K);
    case DT_W4_128: BLOCK_ROW(w4_128, QK_W4);
    case DT_IQ2_XXS:
    case DT_IQ2_XS:
    case DT_IQ2_S:
    case DT_IQ3_XXS:
    case DT_IQ3_S:
    case DT_IQ1_S:
    case DT_IQ1_M:
    case DT_MXFP4:
    case DT_NVFP4:
        for (int64_t at = 0; at < n; at += dtype_info(t)->block_elems, s += dtype_info(t)->block_bytes)
            block_of_codes(t, s, dst + at);
        break;
    case DT_F64: SCALAR_ROW(double);
    case DT_I64: SCALAR_ROW(int64_t);
    case DT_I32: SCALAR_ROW(int32_t);
    case DT_I16: SCALAR_ROW(int16_t);
    case DT_I8: SCALAR_ROW(int8_t);
    case DT_U8:
    case DT_BOOL: SCALAR_ROW(uint8_t);
    case DT_COUNT: break;
    }
}
