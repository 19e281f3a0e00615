/* rope_rows.h - rotation of rows, included by each instruction set's file (plain loops, the same bits everywhere). */
#ifndef HEARTH_DEVICE_CPU_ROPE_ROWS_H
#define HEARTH_DEVICE_CPU_ROPE_ROWS_H

#include "device/cpu/epilogue.h"

static inline void rope_norm_head(float *restrict x, const float *restrict w, int n, float eps)
{
    float inv = epilogue_rms_inv(x, n, eps);
    for (int i = 0; i < n; i++) x[i] = x[i] * inv * w[i];
}

static inline void rope_rotate_half(float *restrict lo, float *restrict hi, const float *restrict c,
                                    const float *restrict s, int half)
{
    for (int i = 0; i < half; i++) {
        float a = lo[i], b = hi[i];
        lo[i] = fmaf(a, c[i], -(b * s[i]));
        hi[i] = fmaf(b, c[i], a * s[i]);
    }
}

static inline void rope_rotate_pairs(float *restrict x, const float *restrict c, const float *restrict s,
                                     int half)
{
    for (int i = 0; i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = fmaf(a, c[i], -(b * s[i]));
        x[2 * i + 1] = fmaf(b, c[i], a * s[i]);
    }
}

static inline void rope_rows(const struct rope_args *a, int64_t r0, int64_t r1, float *restrict table)
{
    int half = a->n_rot / 2;
    float *restrict c = table, *restrict s = table + half;
    const float *restrict freq = a->freq;
    for (int64_t r = r0; r < r1; r++) {
        float pos = (float)a->pos[r];
        for (int i = 0; i < half; i++) fmath_sincos(pos * freq[i], &s[i], &c[i]);
        for (int i = 0; i < half; i++) {
            c[i] *= a->mscale;
            s[i] *= a->mscale;
        }
        for (int h = 0; h < a->n_head; h++) {
            float *x = a->x + r * a->ld + (int64_t)h * a->head_dim;
            if (a->head_norm && !a->norm_after) rope_norm_head(x, a->head_norm, a->head_dim, a->eps);
            if (a->layout == ROPE_HALF)
                rope_rotate_half(x, x + half, c, s, half);
            else
                rope_rotate_pairs(x, c, s, half);
            if (a->head_norm && a->norm_after) rope_norm_head(x, a->head_norm, a->head_dim, a->eps);
        }
    }
}

#endif
