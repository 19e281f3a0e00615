/* quant_dot_128.h - from the products of one group to the table of an instruction set: included last by the files that include
 * quant_128.h, which define DOT(name, format ...), the function of a format, and place_of(), where an activation row's bytes go. */
QUANT_FORMATS(DOT)

static void dot_group(const struct quant_format *f, const unsigned char *group, int64_t n_blocks,
                      const unsigned char *panel, int cols, float (*out)[QUANT_GROUP])
{
    QUANT_CHOOSE(f, dot, f->levels, group, n_blocks, panel, cols, out);
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
    size_t apart;
    int8_t *at = place_of(out, cols, c, &apart);
    round_to(x, at, apart, out, cols, c, left);
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
