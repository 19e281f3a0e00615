/* quant_codes.h - GGUF types whose elements are places in a list of levels: what is common to reading them and to packing them.
 *
 * Every one of them is  w = d * factor * scale * level[code],  where d is the block's number (a half; for MXFP4 a power of two), scale a small
 * whole number for 32 or 16 elements, and code 3 or 4 bits. In the IQ types the codes of 8 (or 4) elements come together from a codebook
 * (quant_grids.c); their last bit is the sign, in IQ1 the direction of the shift by an eighth. All products are exact in f32. */
#ifndef HEARTH_FORMAT_QUANT_CODES_H
#define HEARTH_FORMAT_QUANT_CODES_H

#include "format/quant.h"

struct quant_levels {
    int8_t value[16];
    float factor; /* a power of two */
};
extern const struct quant_levels quant_levels_iq1, quant_levels_iq2, quant_levels_iq3_xxs, quant_levels_iq3_s,
    quant_levels_iq4, quant_levels_fp4;
/* NULL: a type of another kind. */
const struct quant_levels *quant_levels_of(enum dtype t);

/* Elements [32 * j, 32 * j + 32) of a block (at any address): their codes, and the scales of their halves (1 where the type has none). */
void quant_codes(enum dtype t, const void *block, int j, uint8_t code[32], int8_t scale[2]);

/* The half that a block of an IQ type is multiplied by. */
uint16_t quant_codes_d(enum dtype t, const void *block);

/* What a scale in E8M0 (a power of two) stands for when levels are doubled, and one in unsigned E4M3 likewise. */
float quant_e8m0_half(uint8_t e);
float quant_ue4m3_half(uint8_t e);

/* Sign bits of 8 elements from 7: the last makes their number even. */
static inline uint8_t quant_even_signs(unsigned seven)
{
    return (uint8_t)(seven | (unsigned)__builtin_parity(seven) << 7);
}

extern const uint16_t quant_grid_iq2_xxs[256], quant_grid_iq2_xs[512], quant_grid_iq2_s[1024],
    quant_grid_iq3_xxs[256], quant_grid_iq3_s[512], quant_grid_iq1[2048];

#endif
