/* quant_plain.c - the definition of the quantised product in plain C. */
#include "device/cpu/quant_multiply.h"
#include "device/cpu/quant_round.h"
#include "format/quant_codes.h"

/* The eight words of a block, in stored form (codes: looked up). */
static void words_of_block(const struct quant_format *f, const unsigned char *planes, uint8_t w[8][64])
{
    if (f->bits == 8) {
        memcpy(w, planes, 512);
        return;
    }
    for (int j = 0; j < 8; j++) { /* plane by plane: loops without a branch */
        uint8_t *restrict to = w[j];
        const unsigned char *p = planes;
        int bits = f->bits, shift = 0;
        memset(to, 0, 64);
        if (bits >= 4) {
            for (int i = 0; i < 64; i++) to[i] = (uint8_t)(p[64 * (j & 3) + i] >> 4 * (j >> 2) & 15);
            p += 256;
            shift = 4;
        }
        if (bits - shift >= 2) {
            for (int i = 0; i < 64; i++)
                to[i] |= (uint8_t)((p[64 * (j >> 2) + i] >> 2 * (j & 3) & 3) << shift);
            p += 128;
            shift += 2;
        }
        if (bits - shift == 1)
            for (int i = 0; i < 64; i++) to[i] |= (uint8_t)((p[i] >> j & 1) << shift);
        if (f->levels)
            for (int i = 0; i < 64; i++) to[i] = (uint8_t)(f->levels->value[to[i]] + 128);
    }
}

static float half_at(const unsigned char *p, int r)
{
    uint16_t h;
    memcpy(&h, p + 2 * r, 2);
    return f16_to_f32(h);
}

/* 2^(e - 127); the smallest is 0. */
static float power_of_two(uint8_t e)
{
    const uint32_t bits = (uint32_t)e << 23;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Half of what e4m3 means: its bits are those of a half that is 2^-8 of it. */
static float e4m3_half(uint8_t v) { return f16_to_f32((uint16_t)(v << 7)) * 128.0f; }

/* Scale and minimum of row r in block b, first and second half; s: the scales of its piece. */
static void scales_of_row(const struct quant_format *f, const unsigned char *s, int64_t b, int r, float d[2],
                          float m[2])
{
    const int j = (int)(b % 8);
    const float factor = f->levels ? f->levels->factor : 1.0f;
    m[0] = m[1] = 0.0f;
    switch (f->scales) {
    case QS_F16: d[0] = d[1] = half_at(s + 32 * (b % 2), r); return;
    case QS_F16_MIN:
        d[0] = d[1] = half_at(s, r);
        m[0] = m[1] = half_at(s + 32, r);
        return;
    case QS_K_MIN:
        d[0] = d[1] = half_at(s, r) * (float)s[64 + 32 * j + r];
        m[0] = m[1] = -(half_at(s + 32, r) * (float)s[64 + 32 * j + 16 + r]);
        return;
    case QS_K: d[0] = d[1] = half_at(s, r) * factor * (float)(int8_t)s[32 + 16 * j + r]; return;
    case QS_K16:
        for (int h = 0; h < 2; h++)
            d[h] = half_at(s, r) * factor * (float)(int8_t)s[32 + 16 * (2 * j + h) + r];
        return;
    case QS_K16_MIN:
        for (int h = 0; h < 2; h++) {
            int both = s[64 + 16 * (2 * j + h) + r];
            d[h] = half_at(s, r) * (float)(both & 15);
            m[h] = -(half_at(s + 32, r) * (float)(both >> 4));
        }
        return;
    case QS_E8: d[0] = d[1] = power_of_two(s[16 * (b % 4) + r]); return;
    case QS_E4M3_16:
        for (int h = 0; h < 2; h++) d[h] = e4m3_half(s[16 * (2 * (b % 2) + h) + r]);
        return;
    case QS_GROUP:
        d[0] = d[1] = half_at(s, r);
        m[0] = m[1] = -(half_at(s, r) * (float)s[32 + r]);
        return;
    }
}

/* n products of 16-bit values, which compilers find a vector instruction for on every machine. */
static inline int32_t products(const int16_t *restrict a, const int16_t *restrict b, int n)
{
    int32_t sum = 0;
    for (int i = 0; i < n; i++) sum += (int32_t)a[i] * b[i];
    return sum;
}

static void dot_group(const struct quant_format *f, const unsigned char *group, int64_t n_blocks,
                      const unsigned char *panel, int cols, float (*out)[QUANT_GROUP])
{
    bool halves = quant_by_16(f->scales);
    bool min = f->offset == 0;
    memset(out, 0, (size_t)cols * sizeof *out);
    for (int64_t b = 0; b < n_blocks; b++, panel += (size_t)cols * QUANT_ROW_BLOCK_BYTES) {
        uint8_t w[8][64];
        int16_t row[QUANT_GROUP][QUANT_BLOCK];
        float d[QUANT_GROUP][2], m[QUANT_GROUP][2];
        words_of_block(f, group + quant_planes_at(f, b), w);
        for (int j = 0; j < 8; j++)
            for (int r = 0; r < QUANT_GROUP; r++)
                for (int i = 0; i < 4; i++) row[r][4 * j + i] = w[j][4 * r + i];
        for (int r = 0; r < QUANT_GROUP; r++)
            scales_of_row(f, group + quant_scales_at(f, b), b, r, d[r], m[r]);
        for (int c = 0; c < cols; c++) {
            const int8_t *q = (const int8_t *)panel + 32 * c;
            int16_t x[QUANT_BLOCK];
            float x_scale, x_sum;
            int32_t neg[2];
            for (int i = 0; i < QUANT_BLOCK; i++) x[i] = (int16_t) + q[i];
            memcpy(&x_scale, panel + 32 * cols + 4 * c, 4);
            memcpy(&x_sum, panel + 36 * cols + 4 * c, 4);
            memcpy(&neg[0], panel + 44 * cols + 4 * c, 4);
            memcpy(&neg[1], panel + 48 * cols + 4 * c, 4);
            for (int r = 0; r < QUANT_GROUP; r++) {
                float acc = out[c][r];
                if (halves) {
                    for (int h = 0; h < 2; h++) {
                        const int32_t idot =
                            products(row[r] + 16 * h, x + 16 * h, 16) + neg[h] / 128 * f->offset;
                        acc = fmaf((float)idot, d[r][h] * x_scale, acc);
                        if (min) acc = fmaf(m[r][h], x_scale * (float)(neg[h] / -128), acc);
                    }
                } else {
                    const int32_t idot =
                        products(row[r], x, QUANT_BLOCK) + (neg[0] / 128 + neg[1] / 128) * f->offset;
                    acc = fmaf((float)idot, d[r][0] * x_scale, acc);
                    if (min) acc = fmaf(m[r][0], x_sum, acc);
                }
                out[c][r] = acc;
            }
        }
    }
}

static void dot(const struct quant_format *f, const unsigned char *const *group, int n_groups,
                int64_t n_blocks, const unsigned char *panel, int cols, const unsigned char *next,
                size_t next_lines, quant_sums *out)
{
    (void)next, (void)next_lines;
    for (int g = 0; g < n_groups; g++) dot_group(f, group[g], n_blocks, panel, cols, out[g]);
}

static void round_rows(const struct quant_job *j, int64_t r0, int64_t r1, float *buf)
{
    quant_round_rows(j, r0, r1, buf, quant_round_block);
}

static void multiply(const struct quant_job *j, int64_t g0, int64_t g1, unsigned char *unpacked)
{
    (void)unpacked;
    quant_multiply_direct(j, g0, g1, dot);
}

static int panel_rows(int64_t n) { return quant_panel_rows(n, 8); }

const struct quant_kern quant_kern_plain = { panel_rows, round_rows, multiply };
