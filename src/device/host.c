/* host.c - what backends have in common: the owner of the host's threads, and positions that are computed there. */
#include <math.h>

#include "device/backend.h"

/* The host's threads are shared with everything else that computes; who owns the device owns them. */
void host_acquire(struct device *d, enum pool_lane lane) { pool_acquire(d->pool, lane); }
void host_release(struct device *d) { pool_release(d->pool); }
void host_offer(struct device *d, enum pool_lane lane) { pool_offer(d->pool, lane); }
void host_stop_on(struct device *d, const atomic_bool *flag) { pool_stop_on(d->pool, flag); }
void host_run(struct device *d, void (*fn)(void *arg, int ith, int nth), void *arg)
{
    pool_run(d->pool, fn, arg);
}

void host_timestep(float *y, double t, int dim, double max_period)
{
    const int half = dim / 2;
    for (int i = 0; i < half; i++) {
        /* The references compute the frequency and the angle in float32. */
        const float freq = expf((float)(-log(max_period)) * (float)i / (float)half);
        const float angle = (float)t * freq;
        y[i] = cosf(angle);
        y[half + i] = sinf(angle);
    }
}

void host_rope_grid(float *cs, float *sn, int64_t n, int64_t n_text, int grid_w, const int axes[3])
{
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
