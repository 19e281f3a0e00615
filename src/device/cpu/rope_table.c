/* Rotation by a table of angles, with the per-head norm that stands before it in FLUX. */
#include "device/cpu/float_kern.h"
#include "device/cpu/split.h"

struct job {
    const struct float_kern *fk;
    float *x;
    int64_t ld, n;
    int n_head, head_dim;
    const float *cos, *sin, *head_norm;
    float eps;
};

static void rope_part(void *arg, int ith, int nth)
{
    const struct job *j = arg;
    const int half = j->head_dim / 2;
    const struct range r = split_range(j->n, ith, nth);
    for (int64_t row = r.lo; row < r.hi; row++)
        j->fk->rope_row(j->x + row * j->ld, j->n_head, j->head_dim, j->cos + row * half, j->sin + row * half,
                        j->head_norm, j->eps);
}

void cpu_rope_table(struct device *base, float *x, int64_t ld, int64_t n, int n_head, int head_dim,
                    const float *cos, const float *sin, const float *head_norm, float eps)
{
    struct cpu_device *d = cpu_of(base);
    struct job j = { d->fl, x, ld, n, n_head, head_dim, cos, sin, head_norm, eps };
    pool_run(d->pool, rope_part, &j);
}
