/* embed.c - rows of an embedding table, which stays in the file. */
#include <stdlib.h>

#include "device/cpu/cpu_internal.h"
#include "device/cpu/split.h"

struct table {
    struct table_base base;
    struct matrix m;
};

bool cpu_table_new(struct device *base, struct table **out, const struct matrix *m, struct err *e)
{
    struct table *t = calloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_NOMEM, "no memory for a table");
    *t = (struct table){ .base = { base }, .m = *m };
    *out = t;
    return true;
}

void cpu_table_free(struct table *t) { free(t); }

struct embed_job {
    float *y;
    int64_t ldy;
    const struct matrix *table;
    const int32_t *ids;
    int64_t n;
};

static void embed_thread(void *arg, int ith, int nth)
{
    const struct embed_job *j = arg;
    const struct matrix *m = j->table;
    size_t row_bytes = dtype_row_bytes(m->type, m->n_in);
    struct range r = split_range(j->n, ith, nth);
    for (int64_t i = r.lo; i < r.hi; i++) {
        float *y = j->y + i * j->ldy;
        int64_t id = j->ids[i];
        dequant_row(m->type, (const unsigned char *)m->data + (size_t)id * row_bytes, y, m->n_in);
        if (!m->scale) continue;
        const float *scale = m->scale + id / m->scale_rows * ((m->n_in + m->scale_cols - 1) / m->scale_cols);
        for (int64_t k = 0; k < m->n_in; k++) y[k] *= scale[k / m->scale_cols];
    }
}

void cpu_embed(struct device *base, float *y, int64_t ldy, const struct table *t, const int32_t *ids,
               int64_t n)
{
    struct cpu_device *d = cpu_of(base);
    struct embed_job j = { y, ldy, &t->m, ids, n };
    if (n <= 4)
        embed_thread(&j, 0, 1);
    else
        pool_run(d->pool, embed_thread, &j);
}
