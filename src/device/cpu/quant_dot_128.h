/* quant_dot_128.h - products of quant_128.h for panels of rows one after the other: NEON and dot products. */
#include "device/cpu/quant_128.h"

#define DOT(name, ...)                                                                                       \
    static void dot_##name(const unsigned char *group, int64_t n_blocks, const unsigned char *panel,         \
                           int cols, float(*out)[QUANT_GROUP])                                               \
    {                                                                                                        \
        int c = 0;                                                                                           \
        ROWS(8, __VA_ARGS__) ROWS(4, __VA_ARGS__) ROWS(2, __VA_ARGS__) ROWS(1, __VA_ARGS__)                  \
    }
#define ROWS(NC, ...)                                                                                        \
    for (; TILE_QUARTERS(NC) && c + NC <= cols; c += NC)                                                     \
        for (int q = 0; q < 4; q += TILE_QUARTERS(NC) ? TILE_QUARTERS(NC) : 4)                               \
            dot_fixed(__VA_ARGS__, NC, TILE_QUARTERS(NC), group, n_blocks, panel, cols, c, q, out);
QUANT_FORMATS(DOT)

static void dot_group(const struct quant_format *f, const unsigned char *group, int64_t n_blocks,
                      const unsigned char *panel, int cols, float (*out)[QUANT_GROUP])
{
    QUANT_CHOOSE(f, dot, group, n_blocks, panel, cols, out);
}

static void dot(const struct quant_format *f, const unsigned char *const *group, int n_groups,
                int64_t n_blocks, const unsigned char *panel, int cols, const unsigned char *next,
                size_t next_lines, quant_sums *out)
{
    (void)next, (void)next_lines;
    for (int g = 0; g < n_groups; g++) dot_group(f, group[g], n_blocks, panel, cols, out[g]);
}

INLINE void round_block(const float *restrict x, unsigned char *restrict out, int cols, int c,
                        float *restrict left)
{
    round_to(x, (int8_t *)out + 32 * c, 8, out, cols, c, left);
}

static void round_rows(const struct quant_job *j, int64_t r0, int64_t r1, float *buf)
{
    quant_round_rows(j, r0, r1, buf, round_block);
}

static void multiply(const struct quant_job *j, int64_t g0, int64_t g1, unsigned char *unpacked)
{
    (void)unpacked;
    quant_multiply_direct(j, g0, g1, dot);
}
