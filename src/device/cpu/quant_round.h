/* quant_round.h - activation rows to int8 panels: the walk over rows, and the plain definition of rounding a block,
 * which an instruction set's file replaces by one that gives the same bits. */
#ifndef HEARTH_DEVICE_CPU_QUANT_ROUND_H
#define HEARTH_DEVICE_CPU_QUANT_ROUND_H

#include <string.h>

#include "device/cpu/epilogue.h"
#include "device/cpu/quant.h"

/* What stands beside the bytes: see quant.h. */
static inline void quant_round_side(unsigned char *out, int cols, int c, float scale, int32_t lo, int32_t hi)
{
    float sum = scale * (float)(lo + hi);
    int32_t neg = -128 * (lo + hi), neg_lo = -128 * lo, neg_hi = -128 * hi;
    unsigned char *side = out + 32 * cols + 4 * c;
    memcpy(side, &scale, 4);
    memcpy(side + 4 * cols, &sum, 4);
    memcpy(side + 8 * cols, &neg, 4);
    memcpy(side + 12 * cols, &neg_lo, 4);
    memcpy(side + 16 * cols, &neg_hi, 4);
}

/* One block into place c of a panel block of `cols` rows. left: not NULL: what rounding took, x - scale * q. */
static inline void quant_round_block(const float *restrict x, unsigned char *restrict out, int cols, int c,
                                     float *restrict left)
{
    float m[16];
    for (int l = 0; l < 16; l++) {
        float a = fabsf(x[l]), b = fabsf(x[l + 16]);
        m[l] = a > b ? a : b;
    }
    for (int half = 8; half; half /= 2)
        for (int l = 0; l < half; l++) m[l] = m[l] > m[l + half] ? m[l] : m[l + half];
    float amax = m[0];
    /* Blocks of nothing but dust become zero: 127 / amax would overflow. */
    float inv = amax > 1e-30f ? 127.0f / amax : 0.0f, scale = amax > 1e-30f ? amax / 127.0f : 0.0f;

    int32_t q[32];
    for (int l = 0; l < 32; l++) {
        /* adding 1.5 * 2^23 rounds to nearest even and leaves the integer in the low bits; defined for NaN too */
        float t = fmaf(x[l], inv, 12582912.0f);
        uint32_t u;
        memcpy(&u, &t, sizeof u);
        q[l] = (int32_t)(u << 24) >> 24;
    }
    int8_t bytes[32];
    for (int l = 0; l < 32; l++) bytes[l] = (int8_t)q[l];
    memcpy(out + 32 * c, bytes, 32);
    int32_t lo = 0, hi = 0;
    for (int l = 0; l < 16; l++) {
        lo += q[l];
        hi += q[l + 16];
    }
    quant_round_side(out, cols, c, scale, lo, hi);
    for (int l = 0; left && l < 32; l++) left[l] = fmaf(-scale, (float)q[l], x[l]);
}

typedef void quant_round_fn(const float *restrict x, unsigned char *restrict out, int cols, int c,
                            float *restrict left);

static inline __attribute__((always_inline)) void quant_round_rows(const struct quant_job *j, int64_t r0,
                                                                   int64_t r1, float *restrict buf,
                                                                   quant_round_fn *round_block)
{
    const struct linear_args *a = j->a;
    int64_t n_in = j->panels.n_blocks * QUANT_BLOCK;
    for (int64_t r = r0; r < r1; r++) {
        const float *x = a->x + (j->row0 + r) * a->ldx;
        if (a->norm) {
            float inv = epilogue_rms_inv(x, n_in, a->eps);
            const float *restrict w = a->norm;
            if (j->from)
                for (int64_t i = 0; i < n_in; i++) buf[i] = x[j->from[i]] * inv * w[j->from[i]];
            else
                for (int64_t i = 0; i < n_in; i++) buf[i] = x[i] * inv * w[i];
            x = buf;
        } else if (j->from) {
            for (int64_t i = 0; i < n_in; i++) buf[i] = x[j->from[i]];
            x = buf;
        }
        int cols, c;
        unsigned char *out = quant_panel_at(&j->panels, j->fine ? 2 * r : r, &cols, &c);
        for (int64_t b = 0; b < j->panels.n_blocks; b++, out += (size_t)cols * QUANT_ROW_BLOCK_BYTES) {
            float left[QUANT_BLOCK];
            round_block(x + b * QUANT_BLOCK, out, cols, c, j->fine ? left : NULL);
            if (j->fine) round_block(left, out, cols, c + 1, NULL);
        }
    }
}

#endif
