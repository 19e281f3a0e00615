/* positions.c - where tokens stand in time and space: sinusoids, angles of a grid, biases by distance. */
#include "device/cpu/cpu_internal.h"

void cpu_timestep(struct device *d, float *y, double t, int dim, double max_period)
{
    (void)d;
    host_timestep(y, t, dim, max_period);
}

void cpu_rope_grid(struct device *d, float *cs, float *sn, int64_t n, int64_t n_text, int grid_w,
                   const int axes[3])
{
    (void)d;
    host_rope_grid(cs, sn, n, n_text, grid_w, axes);
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
