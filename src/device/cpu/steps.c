/* steps.c - what moves a latent from step to step and joins a picture's tiles. Latents are small, so one thread does it. */
#include <math.h>

#include "device/cpu/cpu_internal.h"

void cpu_lincomb(struct device *d, float *y, const struct lincomb_term *term, int n_terms, int64_t n)
{
    (void)d;
    for (int64_t i = 0; i < n; i++) {
        double sum = term[0].by * term[0].x[i];
        for (int t = 1; t < n_terms; t++) sum += term[t].by * term[t].x[i];
        y[i] = (float)sum;
    }
}

void cpu_clamp(struct device *d, float *y, const float *x, float bound, float over, int64_t n)
{
    (void)d;
    for (int64_t i = 0; i < n; i++) y[i] = fminf(fmaxf(x[i], -bound), bound) / over;
}

void cpu_guide(struct device *d, float *y, const float *v, const float *u, float by, int64_t n)
{
    (void)d;
    for (int64_t i = 0; i < n; i++) y[i] = u[i] + by * (v[i] - u[i]);
}

void cpu_mask(struct device *d, float *y, const float *x, const float *mask, int channels, int64_t plane)
{
    (void)d;
    for (int k = 0; k < channels; k++, y += plane, x += plane)
        for (int64_t i = 0; i < plane; i++) y[i] = mask[i] * y[i] + (1 - mask[i]) * x[i];
}

void cpu_posterior(struct device *d, const struct posterior_args *a)
{
    (void)d;
    for (int64_t i = 0; i < a->plane; i++)
        for (int k = 0; k < a->c; k++) {
            const float *moments = a->moments + i * 2 * a->c;
            float v = moments[k];
            if (a->noise) {
                const float logvar = fminf(fmaxf(moments[a->c + k], -30.0f), 20.0f);
                v += expf(0.5f * logvar) * a->noise[k * a->plane + i];
            }
            v = (v - a->shift[k]) * a->scaling;
            a->y[k * a->plane + i] = a->std ? v / a->std[k] : v;
        }
}

/* Weight of a pixel `at` of a tile of `n` that overlaps its neighbours by `lap`: a linear ramp, flat at the picture's edges. */
static float ramp(int at, int n, int lap, bool first, bool last)
{
    float w = 1;
    if (!first && at < lap) w = ((float)at + 0.5f) / (float)lap;
    if (!last && n - 1 - at < lap) w = fminf(w, ((float)(n - 1 - at) + 0.5f) / (float)lap);
    return w;
}

void cpu_tile(struct device *d, const struct tile_args *a)
{
    (void)d;
    for (int y = 0; y < a->h; y++) {
        const float wy = ramp(y, a->h, a->lap, a->outer & TILE_TOP, a->outer & TILE_BOTTOM);
        for (int x = 0; x < a->w; x++) {
            const float k = wy * ramp(x, a->w, a->lap, a->outer & TILE_LEFT, a->outer & TILE_RIGHT);
            const int64_t at = ((int64_t)a->y0 + y) * a->wide + a->x0 + x;
            const float *p = a->tile + ((int64_t)y * a->w + x) * a->c;
            a->weight[at] += k;
            for (int ch = 0; ch < a->c; ch++) a->picture[at * a->c + ch] += k * p[ch];
        }
    }
}

void cpu_untile(struct device *d, float *picture, const float *weight, int64_t n, int c)
{
    (void)d;
    for (int64_t i = 0; i < n; i++)
        for (int ch = 0; ch < c; ch++) picture[i * c + ch] /= weight[i];
}
