/* positions.c - where tokens stand in time and space: sinusoids, angles of a grid, biases by distance. */
#include <math.h>

#include "device/cpu/cpu_internal.h"

void cpu_timestep(struct device *d, float *y, double t, int dim, double max_period)
{
    (void)d;
    const int half = dim / 2;
    for (int i = 0; i < half; i++) {
        /* The references compute the frequency and the angle in float32. */
        const float freq = expf((float)(-log(max_period)) * (float)i / (float)half);
        const float angle = (float)t * freq;
        y[i] = cosf(angle);
        y[half + i] = sinf(angle);
    }
}

void cpu_rope_grid(struct device *d, float *cs, float *sn, int64_t n, int64_t n_text, int grid_w,
                   const int axes[3])
{
    (void)d;
    for (int64_t r = 0; r < n; r++) {
        const int64_t i = r - n_text;
        const double pos[3] = { 0, i < 0 ? 0 : (double)(i / grid_w), i < 0 ? 0 : (double)(i % grid_w) };
        for (int a = 0; a < 3; a++)
            for (int k = 0; k < axes[a] / 2; k++) {
                const double angle = pos[a] * pow(10000.0, -2.0 * k / axes[a]);
                *cs++ = (float)cos(angle);
                *sn++ = (float)sin(angle);
            }
    }
}

void cpu_relative_bias(struct device *d, float *bias, const float *table, const int32_t *bucket, int n_head,
                       int64_t n)
{
    (void)d;
    for (int h = 0; h < n_head; h++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++)
                bias[((int64_t)h * n + i) * n + j] = table[(int64_t)bucket[j - i + n - 1] * n_head + h];
}
