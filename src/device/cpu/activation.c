/* activation.c - what stands between products and is not folded into one: epilogues that had to wait, gates, factors. */
#include <math.h>

#include "device/cpu/cpu_internal.h"
#include "device/cpu/split.h"

static float gelu_erf(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); }

static float activate(enum epilogue epi, float x)
{
    switch (epi) {
    case EPI_GELU_TANH: return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case EPI_GELU_ERF: return gelu_erf(x);
    case EPI_QUICK_GELU: return x / (1.0f + expf(-1.702f * x));
    case EPI_SILU: return x / (1.0f + expf(-x));
    case EPI_RELU: return x > 0 ? x : 0;
    default: return x;
    }
}

static void epilogue_part(void *arg, int ith, int nth)
{
    const struct epilogue_args *a = arg;
    const struct range rows = split_range(a->n, ith, nth);
    for (int64_t r = rows.lo; r < rows.hi; r++) {
        float *y = a->y + r * a->ldy;
        const float *v = a->v + r * a->ldv;
        for (int64_t i = 0; i < a->n_out; i++) {
            if (a->epi == EPI_ADD)
                y[i] += v[i];
            else if (a->epi == EPI_GATE_ADD)
                y[i] += a->gate[i] * v[i];
            else
                y[i] = activate(a->epi, v[i]);
        }
    }
}

void cpu_epilogue(struct device *d, const struct epilogue_args *a)
{
    struct epilogue_args job = *a;
    pool_run(d->pool, epilogue_part, &job);
}

struct geglu_job {
    float *y;
    const float *x;
    int64_t n, n_ff;
};

static void geglu_part(void *arg, int ith, int nth)
{
    const struct geglu_job *j = arg;
    const struct range rows = split_range(j->n, ith, nth);
    for (int64_t r = rows.lo; r < rows.hi; r++) {
        const float *x = j->x + r * 2 * j->n_ff;
        float *y = j->y + r * j->n_ff;
        for (int64_t i = 0; i < j->n_ff; i++) y[i] = x[i] * gelu_erf(x[i + j->n_ff]);
    }
}

void cpu_geglu(struct device *d, float *y, const float *x, int64_t n, int64_t n_ff)
{
    pool_run(d->pool, geglu_part, &(struct geglu_job){ y, x, n, n_ff });
}

void cpu_scale(struct device *d, float *y, const float *x, float a, int64_t n)
{
    (void)d;
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * a;
}

void cpu_scale_rows(struct device *d, float *y, int64_t ldy, const float *by, int64_t n, int64_t n_cols)
{
    (void)d;
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = 0; i < n_cols; i++) y[r * ldy + i] *= by[r];
}
