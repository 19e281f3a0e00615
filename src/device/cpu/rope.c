/* rope.c - rotary positions. */
#include "device/cpu/cpu_internal.h"
#include "device/cpu/paged_attention.h"
#include "device/cpu/split.h"

/* Floats below which waking the other threads costs more than they save (about 2 us of work). */
#define ALONE 16384

struct rope_job {
    const struct cpu_device *d;
    const struct rope_args *a;
};

static void rope_thread(void *arg, int ith, int nth)
{
    const struct rope_job *j = arg;
    struct range r = split_range(j->a->n, ith, nth);
    j->d->attn->rope(j->a, r.lo, r.hi, scratch_thread(j->d, ith));
}

void cpu_rope(struct device *base, const struct rope_args *a)
{
    struct cpu_device *d = cpu_of(base);
    struct rope_job j = { d, a };
    if (a->n * a->n_head * a->head_dim <= ALONE)
        rope_thread(&j, 0, 1);
    else
        pool_run(d->pool, rope_thread, &j);
}
