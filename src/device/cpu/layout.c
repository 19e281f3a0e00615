/* layout.c - rows, columns and the order of channels: nothing is computed but a factor and a summand on the way. */
#include <string.h>

#include "device/cpu/cpu_internal.h"
#include "device/cpu/split.h"

/* Floats below which waking the other threads costs more than they save. */
#define ALONE 65536

struct rows_job {
    float *y;
    const float *x;
    int64_t ldy, ldx, n, n_cols;
    const int32_t *row; /* NULL: in order */
};

static void rows_part(void *arg, int ith, int nth)
{
    const struct rows_job *j = arg;
    const struct range r = split_range(j->n, ith, nth);
    for (int64_t i = r.lo; i < r.hi; i++)
        memcpy(j->y + i * j->ldy, j->x + (j->row ? j->row[i] : i) * j->ldx, (size_t)j->n_cols * sizeof *j->y);
}

static void run_rows(struct device *d, struct rows_job *j)
{
    if (j->n * j->n_cols < ALONE)
        rows_part(j, 0, 1);
    else
        pool_run(d->pool, rows_part, j);
}

void cpu_copy_rows(struct device *d, float *y, int64_t ldy, const float *x, int64_t ldx, int64_t n,
                   int64_t n_cols)
{
    run_rows(d, &(struct rows_job){ y, x, ldy, ldx, n, n_cols, NULL });
}

void cpu_gather(struct device *d, float *y, int64_t ldy, const float *x, int64_t ldx, const int32_t *row,
                int64_t n, int64_t n_cols)
{
    run_rows(d, &(struct rows_job){ y, x, ldy, ldx, n, n_cols, row });
}

void cpu_fill(struct device *d, float *y, float value, int64_t n)
{
    (void)d;
    for (int64_t i = 0; i < n; i++) y[i] = value;
}

static float mapped(const struct planes_args *a, int k, float v)
{
    if (a->mul) v *= a->mul[k];
    if (a->add) v += a->add[k];
    return v;
}

void cpu_from_planes(struct device *d, const struct planes_args *a)
{
    (void)d;
    for (int64_t r = 0; r < a->h; r++)
        for (int64_t i = 0; i < a->w; i++)
            for (int k = 0; k < a->c; k++)
                a->y[(r * a->w + i) * a->c + k] = mapped(a, k, a->x[k * a->plane + r * a->row + i]);
}

void cpu_to_planes(struct device *d, const struct planes_args *a)
{
    (void)d;
    for (int64_t r = 0; r < a->h; r++)
        for (int64_t i = 0; i < a->w; i++)
            for (int k = 0; k < a->c; k++)
                a->y[k * a->plane + r * a->row + i] = mapped(a, k, a->x[(r * a->w + i) * a->c + k]);
}

/* Where element (ch, y, x) of a latent stands in its tokens. */
static int64_t in_tokens(int c, int w, int ch, int y, int x)
{
    const int64_t token = (int64_t)(y / 2) * (w / 2) + x / 2;
    return token * 4 * c + ch * 4 + y % 2 * 2 + x % 2;
}

void cpu_pack(struct device *d, float *tokens, const float *x, int c, int h, int w)
{
    (void)d;
    for (int ch = 0; ch < c; ch++)
        for (int y = 0; y < h; y++)
            for (int i = 0; i < w; i++) tokens[in_tokens(c, w, ch, y, i)] = x[((int64_t)ch * h + y) * w + i];
}

void cpu_unpack(struct device *d, float *x, const float *tokens, int c, int h, int w)
{
    (void)d;
    for (int ch = 0; ch < c; ch++)
        for (int y = 0; y < h; y++)
            for (int i = 0; i < w; i++) x[((int64_t)ch * h + y) * w + i] = tokens[in_tokens(c, w, ch, y, i)];
}
