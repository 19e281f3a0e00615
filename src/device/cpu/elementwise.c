/* Element-wise operations: bound by memory, so each thread takes one contiguous share. */
#include "device/cpu/float_kern.h"
#include "device/cpu/split.h"

struct job {
    const struct float_kern *fk;
    float *y;
    const float *x, *b;
    const float *scale, *shift;
    float fa, fb;
    int64_t n;
    int c;
    bool silu;
};

static void silu_part(void *arg, int ith, int nth)
{
    const struct job *j = arg;
    const struct range r = split_range(j->n, ith, nth);
    j->fk->silu(j->y + r.lo, j->x + r.lo, r.hi - r.lo);
}

void op_silu(struct device *d, float *y, const float *x, int64_t n)
{
    struct job j = { .fk = d->fl, .y = y, .x = x, .n = n };
    pool_run(d->pool, silu_part, &j);
}

static void add_part(void *arg, int ith, int nth)
{
    const struct job *j = arg;
    const struct range r = split_range(j->n, ith, nth);
    j->fk->add(j->y + r.lo, j->x + r.lo, j->b + r.lo, r.hi - r.lo);
}

void op_add(struct device *d, float *y, const float *a, const float *b, int64_t n)
{
    struct job j = { .fk = d->fl, .y = y, .x = a, .b = b, .n = n };
    pool_run(d->pool, add_part, &j);
}

static void axpby_part(void *arg, int ith, int nth)
{
    const struct job *j = arg;
    const struct range r = split_range(j->n, ith, nth);
    j->fk->axpby(j->y + r.lo, j->x + r.lo, j->fa, j->fb, r.hi - r.lo);
}

void op_axpby(struct device *d, float *y, const float *x, float a, float b, int64_t n)
{
    struct job j = { .fk = d->fl, .y = y, .x = x, .fa = a, .fb = b, .n = n };
    pool_run(d->pool, axpby_part, &j);
}

static void scale_shift_part(void *arg, int ith, int nth)
{
    const struct job *j = arg;
    const struct range r = split_range(j->n, ith, nth);
    for (int64_t p = r.lo; p < r.hi; p++)
        j->fk->scale_shift(j->y + p * j->c, j->x + p * j->c, j->c, j->scale, j->shift, j->silu);
}

void op_scale_shift(struct device *d, float *y, const float *x, int64_t hw, int c, const float *scale,
                    const float *shift, bool with_silu)
{
    struct job j = {
        .fk = d->fl, .y = y, .x = x, .n = hw, .c = c, .scale = scale, .shift = shift, .silu = with_silu
    };
    pool_run(d->pool, scale_shift_part, &j);
}
