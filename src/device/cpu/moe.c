/* moe.c - routed experts: the rows of each expert are gathered, pass through it together, and are added back. Experts that few rows
 * chose go side by side, so that the threads meet twice a lot and not twice an expert; each expert's weights are read once for all
 * the rows of a call, but for those that more rows chose than a lot has. */
#include <string.h>

#include "base/mem.h"
#include "device/cpu/cpu_internal.h"
#include "device/cpu/split.h"

/* Rows of a lot: their gathered copies are the device's scratch. */
#define MOE_ROWS 64
/* Floats that are moved by one thread: cheaper than a job of its own. */
#define FEW_FLOATS (64 << 10)

struct lot {
    struct cpu_device *d;
    const struct moe_args *a;
    int64_t n_in, n_hidden;
    float *x, *hidden, *y;
    int n, n_expert;
    int64_t row[MOE_ROWS]; /* of the arguments */
    float weight[MOE_ROWS];
    int32_t expert[MOE_ROWS];
    int first[MOE_ROWS + 1]; /* where an expert's rows begin */
};

bool moe_reserve(struct cpu_device *d, int64_t n_in, int64_t n_hidden, struct err *e)
{
    size_t need = (size_t)MOE_ROWS * (size_t)(2 * n_in + n_hidden);
    if (need <= d->gathered_cap) return true;
    float *p = mem_aligned(need, sizeof *p, false);
    if (!p) return err_set(e, ERR_NOMEM, "no memory for %zu floats of scratch", need);
    mem_free(d->gathered);
    d->gathered = p;
    d->gathered_cap = need;
    return true;
}

static void gather(void *arg, int ith, int nth)
{
    const struct lot *l = arg;
    const struct range r = split_range(l->n, ith, nth);
    for (int64_t i = r.lo; i < r.hi; i++) {
        const float *restrict from = l->a->x + l->row[i] * l->a->ldx, w = l->weight[i];
        float *restrict to = l->x + i * l->n_in;
        if (l->a->weight_on_input)
            for (int64_t c = 0; c < l->n_in; c++) to[c] = from[c] * w;
        else
            memcpy(to, from, (size_t)l->n_in * sizeof *to);
    }
}

/* Adds the results, all rows of some columns: a row may have several, and they are added in the order of its experts. */
static void add_back(void *arg, int ith, int nth)
{
    const struct lot *l = arg;
    const struct range r = split_range((l->n_in + 15) / 16, ith, nth);
    const int64_t lo = 16 * r.lo, hi = 16 * r.hi < l->n_in ? 16 * r.hi : l->n_in;
    for (int i = 0; i < l->n; i++) {
        const float w = l->a->weight_on_input ? 1.0f : l->weight[i], *restrict from = l->y + i * l->n_in;
        float *restrict to = l->a->y + l->row[i] * l->a->ldy;
        for (int64_t c = lo; c < hi; c++) to[c] += w * from[c];
    }
}

static void by_all(struct lot *l, void (*move)(void *arg, int ith, int nth))
{
    if (l->n * l->n_in <= FEW_FLOATS)
        move(l, 0, 1);
    else
        pool_run(l->d->pool, move, l);
}

static void run_lot(struct lot *l)
{
    struct linear_args up[MOE_ROWS], down[MOE_ROWS];
    if (!l->n) return;
    l->first[l->n_expert] = l->n;
    for (int i = 0; i < l->n_expert; i++) {
        const int64_t at = l->first[i], n = l->first[i + 1] - at;
        up[i] = (struct linear_args){ .w = l->a->gate_up[l->expert[i]],
                                      .x = l->x + at * l->n_in,
                                      .ldx = l->n_in,
                                      .y = l->hidden + at * l->n_hidden,
                                      .ldy = l->n_hidden,
                                      .n = n,
                                      .epi = l->a->epi };
        down[i] = (struct linear_args){ .w = l->a->down[l->expert[i]],
                                        .x = up[i].y,
                                        .ldx = l->n_hidden,
                                        .y = l->y + at * l->n_in,
                                        .ldy = l->n_in,
                                        .n = n };
    }
    by_all(l, gather);
    linear_beside(l->d, up, l->n_expert);
    linear_beside(l->d, down, l->n_expert);
    by_all(l, add_back);
    l->n = l->n_expert = 0;
}

static int chosen_by(const struct moe_args *a, int32_t id)
{
    int n = 0;
    for (int64_t i = 0; i < a->n * a->k; i++) n += a->expert[i] == id;
    return n;
}

static void add_expert(struct lot *l, int32_t id, int n)
{
    const struct moe_args *a = l->a;
    if (n > LINEAR_ALONE || l->n + n > MOE_ROWS) run_lot(l);
    bool begun = false;
    for (int64_t i = 0; i < a->n * a->k; i++) { /* a row chooses an expert once */
        if (a->expert[i] != id) continue;
        if (l->n == MOE_ROWS) {
            run_lot(l);
            begun = false;
        }
        if (!begun) {
            l->expert[l->n_expert] = id;
            l->first[l->n_expert++] = l->n;
        }
        begun = true;
        l->row[l->n] = i / a->k;
        l->weight[l->n++] = a->weight[i];
    }
    if (n > LINEAR_ALONE) run_lot(l);
}

void cpu_moe(struct device *base, const struct moe_args *a)
{
    struct cpu_device *d = cpu_of(base);
    struct lot l = { .d = d, .a = a };
    l.n_in = linear_n_in(a->gate_up[0]);
    l.n_hidden = linear_n_out(a->gate_up[0]);
    l.x = d->gathered;
    l.hidden = l.x + MOE_ROWS * l.n_in;
    l.y = l.hidden + MOE_ROWS * l.n_hidden;
    for (int32_t id = 0; id < a->n_expert; id++) {
        const int n = chosen_by(a, id);
        if (n) add_expert(&l, id, n);
    }
    run_lot(&l);
}
