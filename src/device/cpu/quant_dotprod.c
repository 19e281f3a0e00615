/* quant_dotprod.c - with int8 dot products: four products a lane and instruction. */
#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))

struct sums {
    int32x4_t fours;
};

INLINE struct sums sums_from(int32x4_t v) { return (struct sums){ v }; }
#define SUMS_ADD(s, bits, j, w, x) ((s)->fours = vdotq_laneq_s32((s)->fours, w, x, j))
INLINE int32x4_t sums_total(const struct sums *s) { return s->fours; }
/* Sums as integers and as floats, 16 registers; the activations of four words, 8; the word and a mask. */
#define TILE_QUARTERS(NC) ((NC) == 8 ? 1 : (NC) == 4 ? 2 : 4)

#include "device/cpu/quant_rows_128.h"

const struct quant_kern quant_kern_dotprod = { panel_rows, round_rows, multiply };
