/* quant_plain.c - the definition of the quantised product in plain C. */
#include "device/cpu/quant_multiply.h"
#include "device/cpu/quant_round.h"
#include "format/quant.h"

/* The eight words of a block, in stored form (iq4: looked up). */
static void words_of_block(const struct quant_format *f, const unsigned char *planes, uint8_t w[8][64])
{
    if (f->bits == 8) {
        memcpy(w, planes, 512);
        return;
    }
    for (int j = 0; j < 8; j++)
        for (int i = 0; i < 64; i++) {
            const unsigned char *p = planes;
            int v = 0, shift = 0;
            if (f->bits >= 4) {
                v = p[64 * (j & 3) + i] >> 4 * (j >> 2) & 15;
                p += 256;
                shift = 4;
            }
            if (f->bits - shift >= 2) {
                v |= (p[64 * (j >> 2) + i] >> 2 * (j & 3) & 3) << shift;
                p += 128;
                shift += 2;
            }
            if (f->bits - shift == 1) v |= (p[i] >> j & 1) << shift;
            w[j][i] = (uint8_t)(f->iq4 ? quant_iq4_values[v] + 128 : v);
        }
}

static float half_at(const unsigned char *p, int r)
{
    uint16_t h;
    memcpy(&h, p + 2 * r, 2);
    return f16_to_f32(h);
}

/* Scale and minimum of row r in block b, first and second half; s: the scales of its piece. */
static void scales_of_row(const struct quant_format *f, const unsigned char *s, int64_t b, int r, float d[2],
                          float m[2])
{
    int j = (int)(b % 8);
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
    case QS_K: d[0] = d[1] = half_at(s, r) * (float)(int8_t)s[32 + 16 * j + r]; return;
    case QS_K16:
        for (int h = 0; h < 2; h++) d[h] = half_at(s, r) * (float)(int8_t)s[32 + 16 * (2 * j + h) + r];
        return;
    case QS_K16_MIN:
        for (int h = 0; h < 2; h++) {
            int both = s[64 + 16 * (2 * j + h) + r];
            d[h] = half_at(s, r) * (float)(both & 15);
            m[h] = -(half_at(s + 32, r) * (float)(both >> 4));
        }
        return;
    }
}

static int32_t dot16(const uint8_t w[8][64], int r, int half, const int8_t *q)
{
    int32_t sum = 0;
    for (int i = 16 * half; i < 16 * half + 16; i++) sum += (int32_t)w[i >> 2][4 * r + (i & 3)] * q[i];
    return sum;
}

static void dot_group(const struct quant_format *f, const unsigned char *group, int64_t n_blocks,
                      const unsigned char *panel, int cols, float (*out)[QUANT_GROUP])
{
    bool halves = f->scales == QS_K16 || f->scales == QS_K16_MIN;
    bool min = f->offset == 0;
    memset(out, 0, (size_t)cols * sizeof *out);
    for (int64_t b = 0; b < n_blocks; b++, panel += (size_t)cols * QUANT_ROW_BLOCK_BYTES) {
        uint8_t w[8][64];
        words_of_block(f, group + quant_planes_at(f, b), w);
        for (int r = 0; r < QUANT_GROUP; r++) {
            float d[2], m[2];
            scales_of_row(f, group + quant_scales_at(f, b), b, r, d, m);
            for (int c = 0; c < cols; c++) {
                const int8_t *q = (const int8_t *)panel + 32 * c;
                float x_scale, x_sum;
                int32_t neg[2];
                memcpy(&x_scale, panel + 32 * cols + 4 * c, 4);
                memcpy(&x_sum, panel + 36 * cols + 4 * c, 4);
                memcpy(&neg[0], panel + 44 * cols + 4 * c, 4);
                memcpy(&neg[1], panel + 48 * cols + 4 * c, 4);
                int32_t idot[2];
                for (int h = 0; h < 2; h++)
                    idot[h] = dot16((const uint8_t(*)[64])w, r, h, q) + neg[h] / 128 * f->offset;
                float acc = out[c][r];
                if (halves) {
                    for (int h = 0; h < 2; h++) {
                        acc = fmaf((float)idot[h], d[h] * x_scale, acc);
                        if (min) acc = fmaf(m[h], x_scale * (float)(neg[h] / -128), acc);
                    }
                } else {
                    acc = fmaf((float)(idot[0] + idot[1]), d[0] * x_scale, acc);
                    if (min) acc = fmaf(m[0], x_sum, acc);
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
