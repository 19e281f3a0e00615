/* quant_rows_128.h - products of quant_128.h for panels whose rows stand one after the other: NEON and dot products, which define
 * TILE_QUARTERS(NC), how many quarters NC activation rows take at once so that all sums stay in registers (0: none). */
#include "device/cpu/quant_128.h"

#define ROWS(NC, ...)                                                                                        \
    for (; TILE_QUARTERS(NC) && c + NC <= cols; c += NC)                                                     \
        for (int q = 0; q < 4; q += TILE_QUARTERS(NC) ? TILE_QUARTERS(NC) : 4)                               \
            dot_fixed(__VA_ARGS__, NC, TILE_QUARTERS(NC), levels, group, n_blocks, panel, cols, c, q, out);
#define DOT(name, ...)                                                                                       \
    static void dot_##name(const struct quant_levels *levels, const unsigned char *group, int64_t n_blocks,  \
                           const unsigned char *panel, int cols, float(*out)[QUANT_GROUP])                   \
    {                                                                                                        \
        int c = 0;                                                                                           \
        ROWS(8, __VA_ARGS__) ROWS(4, __VA_ARGS__) ROWS(2, __VA_ARGS__) ROWS(1, __VA_ARGS__)                  \
    }

/* A panel's rows stand one after the other. */
INLINE int8_t *place_of(unsigned char *out, int cols, int c, size_t *apart)
{
    (void)cols;
    *apart = 8;
    return (int8_t *)out + 32 * c;
}

#include "device/cpu/quant_dot_128.h"
