#include "format/tensor.h"

#include <string.h>

#include "base/mem.h"
#include "format/quant.h"

static const struct dtype_info infos[DT_COUNT] = {
    [DT_F32] = { "F32", 1, 4 },
    [DT_F16] = { "F16", 1, 2 },
    [DT_BF16] = { "BF16", 1, 2 },
    [DT_F8_E4M3] = { "F8_E4M3", 1, 1 },
    [DT_F8_E5M2] = { "F8_E5M2", 1, 1 },
    [DT_Q4_0] = { "Q4_0", QK_SMALL, sizeof(struct q4_0) },
    [DT_Q4_1] = { "Q4_1", QK_SMALL, sizeof(struct q4_1) },
    [DT_Q5_0] = { "Q5_0", QK_SMALL, sizeof(struct q5_0) },
    [DT_Q5_1] = { "Q5_1", QK_SMALL, sizeof(struct q5_1) },
    [DT_Q8_0] = { "Q8_0", QK_SMALL, sizeof(struct q8_0) },
    [DT_Q2_K] = { "Q2_K", QK_K, sizeof(struct q2_k) },
    [DT_Q3_K] = { "Q3_K", QK_K, sizeof(struct q3_k) },
    [DT_Q4_K] = { "Q4_K", QK_K, sizeof(struct q4_k) },
    [DT_Q5_K] = { "Q5_K", QK_K, sizeof(struct q5_k) },
    [DT_Q6_K] = { "Q6_K", QK_K, sizeof(struct q6_k) },
    [DT_IQ4_NL] = { "IQ4_NL", QK_SMALL, sizeof(struct iq4_nl) },
    [DT_IQ4_XS] = { "IQ4_XS", QK_K, sizeof(struct iq4_xs) },
    [DT_IQ2_XXS] = { "IQ2_XXS", QK_K, sizeof(struct iq2_xxs) },
    [DT_IQ2_XS] = { "IQ2_XS", QK_K, sizeof(struct iq2_xs) },
    [DT_IQ2_S] = { "IQ2_S", QK_K, sizeof(struct iq2_s) },
    [DT_IQ3_XXS] = { "IQ3_XXS", QK_K, sizeof(struct iq3_xxs) },
    [DT_IQ3_S] = { "IQ3_S", QK_K, sizeof(struct iq3_s) },
    [DT_IQ1_S] = { "IQ1_S", QK_K, sizeof(struct iq1_s) },
    [DT_IQ1_M] = { "IQ1_M", QK_K, sizeof(struct iq1_m) },
    [DT_TQ1_0] = { "TQ1_0", QK_K, sizeof(struct tq1_0) },
    [DT_TQ2_0] = { "TQ2_0", QK_K, sizeof(struct tq2_0) },
    [DT_MXFP4] = { "MXFP4", QK_SMALL, sizeof(struct mxfp4) },
    [DT_NVFP4] = { "NVFP4", QK_NVFP4, sizeof(struct nvfp4) },
    [DT_W4_128] = { "W4_128", QK_W4, sizeof(struct w4_128) },
    [DT_I64] = { "I64", 1, 8 },
    [DT_I32] = { "I32", 1, 4 },
    [DT_I16] = { "I16", 1, 2 },
    [DT_I8] = { "I8", 1, 1 },
    [DT_U8] = { "U8", 1, 1 },
    [DT_BOOL] = { "BOOL", 1, 1 },
    [DT_F64] = { "F64", 1, 8 },
};

const struct dtype_info *dtype_info(enum dtype t) { return &infos[t]; }

size_t dtype_row_bytes(enum dtype t, int64_t n)
{
    const struct dtype_info *d = &infos[t];
    size_t bytes;
    if (n < 0 || n % d->block_elems != 0) return 0;
    return mem_mul((size_t)(n / d->block_elems), (size_t)d->block_bytes, &bytes) ? bytes : 0;
}

/* The readers checked that the product fits. */
int64_t tensor_elems(const struct tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->n_dims; i++) n *= t->dim[i];
    return n;
}

static float float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 0x3ff;
    if (exponent == 31) return float_of_bits(sign | 0x7f800000u | mantissa << 13);
    if (exponent) return float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    float f = (float)mantissa * 0x1p-24f; /* zero and subnormals, exactly */
    return sign ? -f : f;
}

uint16_t f32_to_f16(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    uint32_t sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff)); /* NaN stays NaN */
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00); /* 65520 and more round to infinity */
    if (a < 0x38800000u) {                                  /* below 2^-14: a multiple of 2^-24 */
        /* Adding 0.5 puts the multiple into the low mantissa bits, rounded to nearest even by the addition. */
        float shifted = float_of_bits(a) + 0.5f;
        memcpy(&u, &shifted, sizeof u);
        return (uint16_t)(sign | (u - 0x3f000000u));
    }
    return (uint16_t)(sign | (a - 0x38000000u + 0xfff + (a >> 13 & 1)) >> 13);
}

/* e4m3fn (Micikevicius et al. 2022, "FP8 formats for deep learning"): bias 7, no infinities, NaN is S.1111.111. */
float f8_e4m3_to_f32(uint8_t v)
{
    uint32_t sign = (uint32_t)(v & 0x80) << 24, exponent = v >> 3 & 15, mantissa = v & 7;
    if ((v & 0x7f) == 0x7f) return float_of_bits(sign | 0x7fc00000u);
    if (exponent) return float_of_bits(sign | (exponent + 120) << 23 | mantissa << 20);
    float f = (float)mantissa * 0x1p-9f;
    return sign ? -f : f;
}

/* e5m2 is a half with its low byte cut off. */
float f8_e5m2_to_f32(uint8_t v) { return f16_to_f32((uint16_t)(v << 8)); }
