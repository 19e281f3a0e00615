/* Element-wise operations: bound by memory, so each thread takes one contiguous share, and stops between pieces of it. */
#include "device/cpu/cpu_internal.h"
#include "device/cpu/float_kern.h"
#include "device/cpu/split.h"

#define PIECE 16384 /* elements */

struct job {
    struct pool *pool;
    const struct float_kern *fk;
    float *y;
    const float *x, *b;
    const float *scale, *shift;
    float fa, fb;
    int64_t n;
    int c;
    bool silu;
};

/* How many elements of r to do now; 0 at its end, and when the work is given up. */
static int64_t next_piece(const struct job *j, const struct range *r)
{
    if (!pool_checkpoint(j->pool)) return 0;
    return r->hi - r->lo < PIECE ? r->hi - r->lo : PIECE;
}

static void silu_part(void *arg, int ith, int nth)
{
    const struct job *j = arg;
    struct range r = split_range(j->n, ith, nth);
    for (int64_t n; (n = next_piece(j, &r)) > 0; r.lo += n) j->fk->silu(j->y + r.lo, j->x + r.lo, n);
}

void cpu_silu(struct device *base, float *y, const float *x, int64_t n)
{
    struct cpu_device *d = cpu_of(base);
    struct job j = { .pool = d->pool, .fk = d->fl, .y = y, .x = x, .n = n };
    pool_run(d->pool, silu_part, &j);
}

static void add_part(void *arg, int ith, int nth)
{
    const struct job *j = arg;
    struct range r = split_range(j->n, ith, nth);
    for (int64_t n; (n = next_piece(j, &r)) > 0; r.lo += n)
        j->fk->add(j->y + r.lo, j->x + r.lo, j->b + r.lo, n);
}

void cpu_add(struct device *base, float *y, const float *a, const float *b, int64_t n)
{
    struct cpu_device *d = cpu_of(base);
    struct job j = { .pool = d->pool, .fk = d->fl, .y = y, .x = a, .b = b, .n = n };
    pool_run(d->pool, add_part, &j);
}

static void axpby_part(void *arg, int ith, int nth)
{
    const struct job *j = arg;
    struct range r = split_range(j->n, ith, nth);
    for (int64_t n; (n = next_piece(j, &r)) > 0; r.lo += n)
        j->fk->axpby(j->y + r.lo, j->x + r.lo, j->fa, j->fb, n);
}

void cpu_axpby(struct device *base, float *y, const float *x, float a, float b, int64_t n)
{
    struct cpu_device *d = cpu_of(base);
    struct job j = { .pool = d->pool, .fk = d->fl, .y = y, .x = x, .fa = a, .fb = b, .n = n };
    pool_run(d->pool, axpby_part, &j);
}

static void scale_shift_part(void *arg, int ith, int nth)
{
    const struct job *j = arg;
    const struct range r = split_range(j->n, ith, nth);
    for (int64_t p = r.lo; p < r.hi; p++) {
        if (!pool_checkpoint(j->pool)) return;
        j->fk->scale_shift(j->y + p * j->c, j->x + p * j->c, j->c, j->scale, j->shift, j->silu);
    }
}

void cpu_scale_shift(struct device *base, float *y, const float *x, int64_t hw, int c, const float *scale,
                     const float *shift, bool with_silu)
{
    struct cpu_device *d = cpu_of(base);
    struct job j = { .pool = d->pool,
                     .fk = d->fl,
                     .y = y,
                     .x = x,
                     .n = hw,
                     .c = c,
                     .scale = scale,
                     .shift = shift,
                     .silu = with_silu };
    pool_run(d->pool, scale_shift_part, &j);
}
