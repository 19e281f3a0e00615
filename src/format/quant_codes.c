#include "format/quant_codes.h"

#include <string.h>

/* The magnitudes, then the same negative. */
const struct quant_levels quant_levels_iq2 = { { 8, 25, 43, 0, -8, -25, -43, 0 }, 0.125f };
const struct quant_levels quant_levels_iq3_xxs = {
    { 4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62 }, 0.25f
};
const struct quant_levels quant_levels_iq3_s = {
    { 1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15 }, 1
};
/* -1, 0 and 1, an eighth more; and an eighth less. */
const struct quant_levels quant_levels_iq1 = { { -7, 1, 9, 0, -9, -1, 7, 0 }, 0.125f };
const struct quant_levels quant_levels_iq4 = {
    { -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113 }, 1
};
const struct quant_levels quant_levels_fp4 = { { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 },
                                               1 };

const struct quant_levels *quant_levels_of(enum dtype t)
{
    switch (t) {
    case DT_IQ2_XXS:
    case DT_IQ2_XS:
    case DT_IQ2_S: return &quant_levels_iq2;
    case DT_IQ3_XXS: return &quant_levels_iq3_xxs;
    case DT_IQ3_S: return &quant_levels_iq3_s;
    case DT_IQ1_S:
    case DT_IQ1_M: return &quant_levels_iq1;
    case DT_IQ4_NL:
    case DT_IQ4_XS: return &quant_levels_iq4;
    case DT_MXFP4:
    case DT_NVFP4: return &quant_levels_fp4;
    default: return NULL;
    }
}

/* A codebook's entry: n fields of `bits`, and the sign of each at bit `bits`. */
static inline void entry(uint8_t *code, unsigned fields, int bits, int n, unsigned signs)
{
    for (int i = 0; i < n; i++)
        code[i] = (uint8_t)((fields >> bits * i & ((1u << bits) - 1)) | (signs >> i & 1) << bits);
}

static inline int8_t odd(unsigned s) { return (int8_t)(2 * s + 1); }

static void codes_iq2_xxs(const struct iq2_xxs *b, int j, uint8_t *code, int8_t *scale)
{
    const uint16_t *q = b->qs + 4 * j;
    const uint32_t places = q[0] | (uint32_t)q[1] << 16, rest = q[2] | (uint32_t)q[3] << 16;
    for (int k = 0; k < 4; k++)
        entry(code + 8 * k, quant_grid_iq2_xxs[places >> 8 * k & 255], 2, 8,
              quant_even_signs(rest >> 7 * k & 127));
    scale[0] = scale[1] = odd(rest >> 28);
}

static void codes_iq2_xs(const struct iq2_xs *b, int j, uint8_t *code, int8_t *scale)
{
    for (int k = 0; k < 4; k++) {
        const unsigned q = b->qs[4 * j + k];
        entry(code + 8 * k, quant_grid_iq2_xs[q & 511], 2, 8, quant_even_signs(q >> 9));
    }
    for (int h = 0; h < 2; h++) scale[h] = odd(b->scales[j] >> 4 * h & 15);
}

static void codes_iq2_s(const struct iq2_s *b, int j, uint8_t *code, int8_t *scale)
{
    for (int k = 0; k < 4; k++) {
        const unsigned place = b->qs[4 * j + k] | (b->qh[j] >> 2 * k & 3u) << 8;
        entry(code + 8 * k, quant_grid_iq2_s[place], 2, 8, b->signs[4 * j + k]);
    }
    for (int h = 0; h < 2; h++) scale[h] = odd(b->scales[j] >> 4 * h & 15);
}

static void codes_iq3_xxs(const struct iq3_xxs *b, int j, uint8_t *code, int8_t *scale)
{
    uint32_t rest;
    memcpy(&rest, b->scales_signs + 4 * j, sizeof rest);
    for (int k = 0; k < 8; k++)
        entry(code + 4 * k, quant_grid_iq3_xxs[b->qs[8 * j + k]], 3, 4,
              quant_even_signs(rest >> 7 * (k / 2) & 127) >> 4 * (k & 1));
    scale[0] = scale[1] = odd(rest >> 28);
}

static void codes_iq3_s(const struct iq3_s *b, int j, uint8_t *code, int8_t *scale)
{
    for (int k = 0; k < 8; k++) {
        const unsigned place = b->qs[8 * j + k] | (b->qh[j] >> k & 1u) << 8;
        entry(code + 4 * k, quant_grid_iq3_s[place], 3, 4, b->signs[4 * j + k / 2] >> 4 * (k & 1));
    }
    scale[0] = scale[1] = odd(b->scales[j / 2] >> 4 * (j & 1) & 15);
}

static void codes_iq1_s(const struct iq1_s *b, int j, uint8_t *code, int8_t *scale)
{
    const unsigned h = b->qh[j];
    for (int k = 0; k < 4; k++)
        entry(code + 8 * k, quant_grid_iq1[b->qs[4 * j + k] | (h >> 3 * k & 7) << 8], 2, 8,
              h >> 15 ? 255 : 0);
    scale[0] = scale[1] = odd(h >> 12 & 7);
}

static void codes_iq1_m(const struct iq1_m *b, int j, uint8_t *code, int8_t *scale)
{
    uint16_t s;
    memcpy(&s, b->scales + 2 * (j / 2), sizeof s);
    for (int k = 0; k < 4; k++) {
        const unsigned h = b->qh[2 * j + k / 2] >> 4 * (k & 1) & 15u;
        entry(code + 8 * k, quant_grid_iq1[b->qs[4 * j + k] | (h & 7) << 8], 2, 8, h & 8 ? 255 : 0);
    }
    for (int i = 0; i < 2; i++) scale[i] = odd(s >> (6 * (j & 1) + 3 * i) & 7u);
}

static void codes_nibbles(const uint8_t *qs, int half, uint8_t *code)
{
    for (int i = 0; i < half; i++) {
        code[i] = qs[i] & 15;
        code[i + half] = qs[i] >> 4;
    }
}

/* One block is copied out of the file: the source may lie at any address. */
#define CODES(name)                                                                                          \
    {                                                                                                        \
        struct name b;                                                                                       \
        memcpy(&b, block, sizeof b);                                                                         \
        codes_##name(&b, j, code, scale);                                                                    \
        break;                                                                                               \
    }

void quant_codes(enum dtype t, const void *block, int j, uint8_t code[32], int8_t scale[2])
{
    scale[0] = scale[1] = 1;
    switch (t) {
    case DT_IQ2_XXS: CODES(iq2_xxs)
    case DT_IQ2_XS: CODES(iq2_xs)
    case DT_IQ2_S: CODES(iq2_s)
    case DT_IQ3_XXS: CODES(iq3_xxs)
    case DT_IQ3_S: CODES(iq3_s)
    case DT_IQ1_S: CODES(iq1_s)
    case DT_IQ1_M: CODES(iq1_m)
    case DT_MXFP4: codes_nibbles(((const struct mxfp4 *)block)->qs, 16, code); break;
    case DT_NVFP4:
        for (int h = 0; h < 2; h++)
            codes_nibbles(((const struct nvfp4 *)block)->qs + 8 * (2 * j + h), 8, code + 16 * h);
        break;
    default: memset(code, 0, 32);
    }
}

uint16_t quant_codes_d(enum dtype t, const void *block)
{
    uint16_t d = 0;
    if (t == DT_IQ1_M) { /* in the last four bits of its four words of scales */
        uint16_t s[4];
        memcpy(s, (const unsigned char *)block + offsetof(struct iq1_m, scales), sizeof s);
        for (int i = 0; i < 4; i++) d = (uint16_t)(d | (s[i] >> 12) << 4 * i);
        return d;
    }
    memcpy(&d, block, sizeof d);
    return d;
}

float quant_e8m0_half(uint8_t e)
{
    const uint32_t bits = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* No negative numbers; what would be NaN is 0, and the highest bit says nothing, as in ggml. */
float quant_ue4m3_half(uint8_t e)
{
    if ((e & 0x7f) == 0x7f) return e == 0x7f ? 0.0f : 240.0f;
    return 0.5f * f8_e4m3_to_f32(e & 0x7f);
}
