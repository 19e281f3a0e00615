/* quant.h - the quantised blocks of GGUF files, byte for byte as they lie in the file (ggml's layout).
 *
 * A row is a whole number of blocks. `d` and `dmin` are IEEE halves. Elements below are numbered within the block.
 * Alignment  2 bytes at least: the GGUF reader refuses a file whose tensors are not on multiples of 8.
 * Endianness little, as the file and every machine that hearth runs on. */
#ifndef HEARTH_FORMAT_QUANT_H
#define HEARTH_FORMAT_QUANT_H

#include <stdint.h>

#include "format/tensor.h"

#define QK_SMALL 32 /* elements of a plain block */
#define QK_K 256    /* elements of a K block */

/* Blocks of 32. Byte i of qs holds element i in its low nibble and element i+16 in its high one. */
struct q4_0 { /* w = d * (q - 8) */
    uint16_t d;
    uint8_t qs[16];
};
struct q4_1 { /* w = d * q + m */
    uint16_t d, m;
    uint8_t qs[16];
};
struct q5_0 { /* w = d * (q - 16); bit i of the little-endian word qh is bit 4 of element i */
    uint16_t d;
    uint8_t qh[4];
    uint8_t qs[16];
};
struct q5_1 { /* w = d * q + m */
    uint16_t d, m;
    uint8_t qh[4];
    uint8_t qs[16];
};
struct q8_0 { /* w = d * q */
    uint16_t d;
    int8_t qs[32];
};
struct iq4_nl { /* w = d * iq4_values[q] (quant.c) */
    uint16_t d;
    uint8_t qs[16];
};

/* Blocks of 256. Two-bit fields: byte 32*h + i (h = 0, 1) holds elements 128*h + 32*s + i at bits 2*s. */
struct q2_k { /* sub-block j of 16: w = d * (scales[j] & 15) * q - dmin * (scales[j] >> 4) */
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d, dmin;
};
struct q3_k { /* sub-block j of 16: w = d * (scale[j] - 32) * (q - (bit ? 0 : 4)); see quant_q3_k_scales() */
    uint8_t hmask[32]; /* bit b of byte i is the bit of element 32*b + i */
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;
};
/* Nibbles: byte 32*p + i holds element 64*p + i low and element 64*p + 32 + i high. */
struct q4_k { /* sub-block j of 32: w = d * scale[j] * q - dmin * min[j]; see quant_k_scale_min() */
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qs[128];
};
struct q5_k { /* as q4_k; bit b of qh[i] is bit 4 of element 32*b + i */
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
};
/* For each half h of 128 and i < 32: ql[64*h + i] holds elements 128*h + i (low) and 128*h + 64 + i (high),
 * ql[64*h + 32 + i] holds 128*h + 32 + i (low) and 128*h + 96 + i (high); bits 2*s of qh[32*h + i] are bits 4 and 5
 * of element 128*h + 32*s + i. */
struct q6_k { /* sub-block j of 16: w = d * scales[j] * (q - 32) */
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
};
struct iq4_xs { /* sub-block j of 32: w = d * (scale[j] - 32) * iq4_values[q]; bytes 16*j + i as in iq4_nl */
    uint16_t d;
    uint16_t scales_h;   /* bits 2*j, 2*j+1: bits 4 and 5 of scale[j] */
    uint8_t scales_l[4]; /* nibble j: bits 0..3 of scale[j] */
    uint8_t qs[128];
};

/* Blocks of ternary numbers, w = d * (q - 1). */
struct tq1_0 { /* five in a byte, the first of them its greatest ternary digit: see quant_ternary() */
    uint8_t qs[48];
    uint8_t qh[4]; /* four in a byte */
    uint16_t d;
};
struct tq2_0 { /* two-bit fields, as in q2_k */
    uint8_t qs[64];
    uint16_t d;
};

/* Blocks of codes for levels (quant_codes.h). Sub-block j has 32 elements; qs are places in a codebook. */
struct iq2_xxs { /* per j: four places of 8 bits; then four times 7 signs, and the scale at bit 28 */
    uint16_t d;
    uint16_t qs[32];
};
struct iq2_xs { /* places of 9 bits, signs of 7; scales of 16 elements, 4 bits each */
    uint16_t d;
    uint16_t qs[32];
    uint8_t scales[8];
};
struct iq2_s { /* places of 8 bits and two in qh */
    uint16_t d;
    uint8_t qs[32], signs[32], qh[8], scales[8];
};
struct iq3_xxs { /* places for 4 elements; per j a word of four times 7 signs, and the scale at bit 28 */
    uint16_t d;
    uint8_t qs[64], scales_signs[32];
};
struct iq3_s {
    uint16_t d;
    uint8_t qs[64], qh[8], signs[32], scales[4];
};
struct iq1_s { /* qh: four times three bits of places, the scale at bit 12, the shift's sign at bit 15 */
    uint16_t d;
    uint8_t qs[32];
    uint16_t qh[8];
};
struct
    iq1_m { /* nibbles of qh: three bits of a place, and the shift's sign; d lies in the last bits of the scales */
    uint8_t qs[32], qh[16], scales[8];
};
struct mxfp4 { /* 32 elements, as in iq4_nl; e: the scale as a power of two */
    uint8_t e, qs[16];
};
struct nvfp4 { /* 64 elements: of each 16, a scale in E4M3 without a sign, and 8 bytes as in iq4_nl */
    uint8_t d[4], qs[32];
};
#define QK_NVFP4 64

/* hearth's own: what checkpoints of whole numbers with a scale and a zero point for 128 (or more) inputs become. */
struct w4_128 { /* w = d * (q - zero); bytes 16*j + i as in iq4_nl for each j of 32 elements */
    uint16_t d;
    uint8_t zero, unused;
    uint8_t qs[64];
};
#define QK_W4 128

_Static_assert(sizeof(struct q4_0) == 18 && sizeof(struct q4_1) == 20, "file layout");
_Static_assert(sizeof(struct q5_0) == 22 && sizeof(struct q5_1) == 24, "file layout");
_Static_assert(sizeof(struct q8_0) == 34 && sizeof(struct iq4_nl) == 18, "file layout");
_Static_assert(sizeof(struct q2_k) == 84 && sizeof(struct q3_k) == 110, "file layout");
_Static_assert(sizeof(struct q4_k) == 144 && sizeof(struct q5_k) == 176, "file layout");
_Static_assert(sizeof(struct tq1_0) == 54 && sizeof(struct tq2_0) == 66, "file layout");
_Static_assert(sizeof(struct iq2_xxs) == 66 && sizeof(struct iq2_xs) == 74 && sizeof(struct iq2_s) == 82,
               "file layout");
_Static_assert(sizeof(struct iq3_xxs) == 98 && sizeof(struct iq3_s) == 110, "file layout");
_Static_assert(sizeof(struct iq1_s) == 50 && sizeof(struct iq1_m) == 56, "file layout");
_Static_assert(sizeof(struct mxfp4) == 17 && sizeof(struct nvfp4) == 36 && sizeof(struct w4_128) == 68,
               "file layout");
_Static_assert(sizeof(struct q6_k) == 210 && sizeof(struct iq4_xs) == 136, "file layout");

/* 6-bit scale and minimum of sub-block j (0..7) of a q4_k or q5_k. */
static inline void quant_k_scale_min(const uint8_t scales[12], int j, uint8_t *scale, uint8_t *min)
{
    if (j < 4) {
        *scale = scales[j] & 63;
        *min = scales[j + 4] & 63;
    } else {
        *scale = (uint8_t)((scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4);
        *min = (uint8_t)(scales[j + 4] >> 4 | (scales[j] >> 6) << 4);
    }
}

/* The sixteen scales of a q3_k, 32 already subtracted (-32..31). */
static inline void quant_q3_k_scales(const uint8_t scales[12], int8_t out[16])
{
    for (int j = 0; j < 16; j++) {
        int low = scales[j & 7] >> (j < 8 ? 0 : 4) & 15;
        int high = scales[8 + (j & 3)] >> 2 * (j >> 2) & 3;
        out[j] = (int8_t)((low | high << 4) - 32);
    }
}

/* Elements [32 * j, 32 * j + 32) of a tq1_0 as 0, 1 and 2. */
static inline void quant_ternary(const struct tq1_0 *b, int j, uint8_t code[32])
{
    static const uint8_t power[5] = { 1, 3, 9, 27, 81 };
    for (int i = 0; i < 32; i++) { /* 160 elements in 32 bytes, 80 in 16, 16 in 4 */
        const int e = 32 * j + i, from = e < 160 ? 0 : e < 240 ? 160 : 240, at = e - from;
        const int run = e < 160 ? 32 : e < 240 ? 16 : 4;
        const uint8_t byte = e < 160 ? b->qs[at % run] : e < 240 ? b->qs[32 + at % run] : b->qh[at % run];
        code[i] = (uint8_t)((uint8_t)(byte * power[at / run]) * 3 >> 8);
    }
}

#endif
