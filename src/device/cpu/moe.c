/* moe.c - routed experts: the rows of each expert are gathered, pass through it together, and are added back. */
#include <string.h>

#include "base/mem.h"
#include "device/cpu/cpu_internal.h"

/* Rows routed at once: their gathered copies are the device's scratch. */
#define MOE_ROWS 64

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

/* Rows [r0, r0 + n) of the arguments through expert `id`. */
static void one_expert(struct cpu_device *d, const struct moe_args *a, int64_t r0, int64_t n, int32_t id)
{
    int64_t n_in = linear_n_in(a->gate_up[id]), n_hidden = linear_n_out(a->gate_up[id]);
    float *x = d->gathered, *hidden = x + MOE_ROWS * n_in, *y = hidden + MOE_ROWS * n_hidden;
    int64_t row[MOE_ROWS];
    float weight[MOE_ROWS];
    int64_t m = 0;
    for (int64_t r = r0; r < r0 + n; r++)
        for (int k = 0; k < a->k; k++) {
            if (a->expert[r * a->k + k] != id) continue;
            row[m] = r;
            weight[m] = a->weight[r * a->k + k];
            const float *src = a->x + r * a->ldx;
            if (a->weight_on_input)
                for (int64_t i = 0; i < n_in; i++) x[m * n_in + i] = src[i] * weight[m];
            else
                memcpy(x + m * n_in, src, (size_t)n_in * sizeof *x);
            m++;
            break; /* a row chooses an expert once */
        }
    if (!m) return;
    cpu_linear(
        &d->base,
        &(struct linear_args){
            .w = a->gate_up[id], .x = x, .ldx = n_in, .y = hidden, .ldy = n_hidden, .n = m, .epi = a->epi });
    cpu_linear(&d->base, &(struct linear_args){
                             .w = a->down[id], .x = hidden, .ldx = n_hidden, .y = y, .ldy = n_in, .n = m });
    for (int64_t i = 0; i < m; i++) {
        float *dst = a->y + row[i] * a->ldy, w = a->weight_on_input ? 1.0f : weight[i];
        for (int64_t o = 0; o < n_in; o++) dst[o] += w * y[i * n_in + o];
    }
}

void cpu_moe(struct device *base, const struct moe_args *a)
{
    struct cpu_device *d = cpu_of(base);
    for (int64_t r = 0; r < a->n; r += MOE_ROWS) {
        int64_t n = a->n - r < MOE_ROWS ? a->n - r : MOE_ROWS;
        for (int32_t id = 0; id < a->n_expert; id++) one_expert(d, a, r, n, id);
    }
}
