/* RMS norm, layer norm, and the statistics of group norm. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "device/cpu/cpu_internal.h"
#include "device/cpu/float_kern.h"
#include "device/cpu/split.h"

struct row_job {
    struct pool *pool;
    const struct float_kern *fk;
    float *y;
    int64_t ldy;
    const float *x;
    int64_t ldx, n, n_embd;
    const float *w, *b, *scale, *shift;
    float eps;
};

static void rmsnorm_part(void *arg, int ith, int nth)
{
    const struct row_job *j = arg;
    const struct range r = split_range(j->n, ith, nth);
    for (int64_t row = r.lo; row < r.hi; row++) {
        if (!pool_checkpoint(j->pool)) return;
        j->fk->rmsnorm_row(j->y + row * j->ldy, j->x + row * j->ldx, j->n_embd, j->w, j->eps);
    }
}

void cpu_rmsnorm(struct device *base, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n,
                 int64_t n_embd, const float *w, float eps)
{
    struct cpu_device *d = cpu_of(base);
    struct row_job j = { .pool = d->pool,
                         .fk = d->fl,
                         .y = y,
                         .ldy = ldy,
                         .x = x,
                         .ldx = ldx,
                         .n = n,
                         .n_embd = n_embd,
                         .w = w,
                         .eps = eps };
    pool_run(d->pool, rmsnorm_part, &j);
}

static void layernorm_part(void *arg, int ith, int nth)
{
    const struct row_job *j = arg;
    const struct range r = split_range(j->n, ith, nth);
    for (int64_t row = r.lo; row < r.hi; row++) {
        if (!pool_checkpoint(j->pool)) return;
        j->fk->layernorm_row(j->y + row * j->ldy, j->x + row * j->ldx, j->n_embd, j->w, j->b, j->eps,
                             j->scale, j->shift);
    }
}

void cpu_layernorm(struct device *base, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n,
                   int64_t n_embd, const float *w, const float *b, float eps, const float *scale,
                   const float *shift)
{
    struct cpu_device *d = cpu_of(base);
    struct row_job j = { .pool = d->pool,
                         .fk = d->fl,
                         .y = y,
                         .ldy = ldy,
                         .x = x,
                         .ldx = ldx,
                         .n = n,
                         .n_embd = n_embd,
                         .w = w,
                         .b = b,
                         .eps = eps,
                         .scale = scale,
                         .shift = shift };
    pool_run(d->pool, layernorm_part, &j);
}

/* Group norm reads the picture once. Its pixels are cut into parts whose number depends on the picture alone; each
 * gives two sums a channel, of x - x0 and of its square, where x0 is the channel's first pixel: near enough to the
 * mean that the variance does not come out as the difference of two large numbers. The parts are added in order, in
 * double, so the result does not depend on the threads. */
#define MAX_PARTS 64
#define PART_PIXELS 256 /* at least, when there is more than one part */

struct group_job {
    struct pool *pool;
    const struct float_kern *fk;
    const float *x;
    int64_t hw;
    int c, parts;
    double *sums;   /* [parts, 2, c] */
    float *scratch; /* [threads, 2, c] */
    atomic_int next_part;
};

static void moments_part(void *arg, int ith, int nth)
{
    (void)nth;
    struct group_job *j = arg;
    int part;
    while ((part = atomic_fetch_add_explicit(&j->next_part, 1, memory_order_relaxed)) < j->parts) {
        if (!pool_checkpoint(j->pool)) return;
        const struct range r = split_range(j->hw, part, j->parts);
        double *s = j->sums + (size_t)part * 2 * (size_t)j->c;
        memset(s, 0, (size_t)j->c * 2 * sizeof *s);
        j->fk->moments(s, s + j->c, j->scratch + (size_t)ith * 2 * (size_t)j->c, j->x + r.lo * j->c,
                       r.hi - r.lo, j->c, j->x);
    }
}

void cpu_groupnorm_fold(struct device *base, float *scale, float *shift, const float *x, int64_t hw, int c,
                        int groups, const float *w, const float *b, float eps)
{
    struct cpu_device *d = cpu_of(base);
    const int nth = pool_threads(d->pool);
    struct group_job j = {
        .pool = d->pool, .fk = d->fl, .x = x, .hw = hw, .c = c, .sums = scratch_shared(d)
    };
    /* 24 MiB of scratch hold more than a part of any network's channels; bounded all the same. */
    const size_t room = d->shared_cap - (size_t)nth * 2 * (size_t)c * sizeof(float);
    int64_t parts = (hw + PART_PIXELS - 1) / PART_PIXELS;
    parts = parts < MAX_PARTS ? parts : MAX_PARTS;
    const int64_t fit = (int64_t)(room / ((size_t)c * 2 * sizeof(double)));
    j.parts = (int)(parts < fit ? parts : fit);
    j.scratch = (float *)(j.sums + (size_t)j.parts * 2 * (size_t)c);
    pool_run(d->pool, moments_part, &j);

    const int gc = c / groups;
    for (int i = 0; i < c; i++)
        for (int part = 1; part < j.parts; part++) {
            j.sums[i] += j.sums[(size_t)part * 2 * (size_t)c + (size_t)i];
            j.sums[c + i] += j.sums[((size_t)part * 2 + 1) * (size_t)c + (size_t)i];
        }
    for (int g = 0; g < groups; g++) {
        double mean = 0, var = 0;
        for (int i = g * gc; i < (g + 1) * gc; i++) mean += (double)x[i] + j.sums[i] / (double)hw;
        mean /= gc;
        for (int i = g * gc; i < (g + 1) * gc; i++) { /* sum (x-m)^2 = q - 2 (m-x0) s + n (m-x0)^2 */
            const double off = mean - (double)x[i];
            var += j.sums[c + i] / (double)hw - 2 * off * j.sums[i] / (double)hw + off * off;
        }
        const double inv = 1.0 / sqrt((var > 0 ? var : 0) / gc + (double)eps);
        for (int i = g * gc; i < (g + 1) * gc; i++) {
            scale[i] = (float)(inv * (w ? (double)w[i] : 1.0));
            shift[i] = (float)((b ? (double)b[i] : 0.0) - mean * inv * (w ? (double)w[i] : 1.0));
        }
    }
}
