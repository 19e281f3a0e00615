/* winograd_body.h - the transforms of winograd.c that compilers turn into vectors by themselves; used as float_body.h is. */
#ifndef HEARTH_DEVICE_CPU_WINOGRAD_BODY_H
#define HEARTH_DEVICE_CPU_WINOGRAD_BODY_H

#include "device/cpu/float_body.h"

static inline void body_map_pixel(float *y, const float *x, int64_t n, const struct row_map *map)
{
    int64_t i = 0;
    if (map->mul)
        for (; i < n; i++) y[i] = x[i] * map->inv * map->mul[i] + (map->add ? map->add[i] : 0.0f);
    else
        memcpy(y, x, (size_t)n * sizeof *y);
    if (map->silu)
        for (i = 0; i < n; i++) y[i] = fmath_silu(y[i]);
    for (i = n; i % KB_BF16; i++) y[i] = 0.0f;
}

static inline void body_winograd_in(unsigned char *dst, size_t factor, const float *const row[4], int64_t ld,
                                    int64_t n)
{
    static const int from[4][2] = { { 0, 2 }, { 1, 2 }, { 2, 1 }, { 1, 3 } };
    for (int64_t k = 0; k < n; k += KB_BF16, dst += TILE_BYTES)
        for (int i = 0; i < 4; i++) {
            const float *a = row[from[i][0]] + k, *b = row[from[i][1]] + k;
            const float sign = i == 1 ? 1.0f : -1.0f;
            float c[4][KB_BF16];
            for (int j = 0; j < 4; j++)
                for (int l = 0; l < KB_BF16; l++) c[j][l] = a[j * ld + l] + sign * b[j * ld + l];
            uint16_t h[4][KB_BF16];
            for (int l = 0; l < KB_BF16; l++) {
                h[0][l] = body_bf16(c[0][l] - c[2][l]);
                h[1][l] = body_bf16(c[1][l] + c[2][l]);
                h[2][l] = body_bf16(c[2][l] - c[1][l]);
                h[3][l] = body_bf16(c[1][l] - c[3][l]);
            }
            for (int j = 0; j < 4; j++) memcpy(dst + (size_t)(4 * i + j) * factor, h[j], sizeof h[j]);
        }
}

static inline void body_winograd_out(float *y, const float *sums, size_t product, int n)
{
    for (int k = 0; k < n; k += 16) {
        const float *s = sums + k;
        float c[2][4][16];
        for (int j = 0; j < 4; j++, s += product)
            for (int l = 0; l < 16; l++) {
                const float s0 = s[l], s1 = s[4 * product + l], s2 = s[8 * product + l],
                            s3 = s[12 * product + l];
                c[0][j][l] = s0 + s1 + s2;
                c[1][j][l] = s1 - s2 - s3;
            }
        for (int i = 0; i < 2; i++)
            for (int l = 0; l < 16; l++) {
                y[2 * i * n + k + l] = c[i][0][l] + c[i][1][l] + c[i][2][l];
                y[(2 * i + 1) * n + k + l] = c[i][1][l] - c[i][2][l] - c[i][3][l];
            }
    }
}

#define WINOGRAD_BODY                                                                                        \
    .map_pixel = body_map_pixel, .winograd_in = body_winograd_in, .winograd_out = body_winograd_out

#endif
