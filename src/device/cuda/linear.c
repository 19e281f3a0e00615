/* linear.c - weights in a GPU's memory, as they lie in the file, and products with them. Types that no kernel reads are widened at loading:
 * to bf16 where that holds them exactly (MXFP4, NVFP4), else to f16. */
#include "device/cuda/cuda_device.h"

#include <stdlib.h>
#include <string.h>

enum { WARPS = 4, MANY_ROWS = 8 }; /* as in kernels/linear.cuh */

/* ---- matrices -------------------------------------------------------------------------------------------------------- */

static bool is_read(enum dtype t)
{
    switch (t) {
    case DT_F32:
    case DT_F16:
    case DT_BF16:
    case DT_F8_E4M3:
    case DT_F8_E5M2:
    case DT_I8:
    case DT_Q4_0:
    case DT_Q4_1:
    case DT_Q5_0:
    case DT_Q5_1:
    case DT_Q8_0:
    case DT_Q2_K:
    case DT_Q3_K:
    case DT_Q4_K:
    case DT_Q5_K:
    case DT_Q6_K:
    case DT_IQ4_NL:
    case DT_IQ4_XS: return true;
    default: return false;
    }
}

static uint16_t *widen(const struct matrix *m, enum dtype to, struct err *e)
{
    const size_t row_bytes = dtype_row_bytes(m->type, m->n_in);
    uint16_t *wide = mem_aligned((size_t)(m->n_out * m->n_in), sizeof *wide, false);
    float *row = mem_aligned((size_t)m->n_in, sizeof *row, false);
    if (!wide || !row) {
        mem_free(wide);
        mem_free(row);
        err_set(e, ERR_NOMEM, "no memory to widen %s weights", dtype_info(m->type)->name);
        return NULL;
    }
    for (int64_t o = 0; o < m->n_out; o++) {
        dequant_row(m->type, (const unsigned char *)m->data + (size_t)o * row_bytes, row, m->n_in);
        for (int64_t i = 0; i < m->n_in; i++)
            wide[o * m->n_in + i] = to == DT_BF16 ? f32_to_bf16(row[i]) : f32_to_f16(row[i]);
    }
    mem_free(row);
    return wide;
}

static void matrix_free(struct cuda_device *d, struct gpu_matrix *g)
{
    cuda_memory_free(d, g->data);
    cuda_memory_free(d, g->scale);
    cuda_memory_free(d, g->from);
}

/* On failure nothing is kept. */
static bool matrix_new(struct cuda_device *d, struct gpu_matrix *g, const struct matrix *m, struct err *e)
{
    const enum dtype type = is_read(m->type)                             ? m->type
                            : m->type == DT_MXFP4 || m->type == DT_NVFP4 ? DT_BF16
                                                                         : DT_F16;
    *g = (struct gpu_matrix){ .n_out = m->n_out, .n_in = m->n_in, .type = (int32_t)type };
    uint16_t *wide = type == m->type ? NULL : widen(m, type, e);
    if (type != m->type && !wide) return false;
    g->row_bytes = (int64_t)dtype_row_bytes(type, m->n_in);
    g->data = cuda_memory_of(d, wide ? wide : m->data, (size_t)(g->row_bytes * m->n_out), e);
    mem_free(wide);
    if (!g->data) return false;
    if (m->scale) {
        g->scale_rows = m->scale_rows;
        g->scale_cols = m->scale_cols;
        g->scale_across = (m->n_in + m->scale_cols - 1) / m->scale_cols;
        const int64_t down = (m->n_out + m->scale_rows - 1) / m->scale_rows;
        g->scale = cuda_memory_of(d, m->scale, (size_t)(down * g->scale_across) * sizeof *m->scale, e);
    }
    if (m->from && (g->scale || !m->scale))
        g->from = cuda_memory_of(d, m->from, (size_t)m->n_in * sizeof *m->from, e);
    if ((!m->scale || g->scale) && (!m->from || g->from)) return true;
    matrix_free(d, g);
    return false;
}

static size_t matrix_bytes(const struct gpu_matrix *g) { return (size_t)(g->row_bytes * g->n_out); }

/* ---- layers ---------------------------------------------------------------------------------------------------------- */

struct linear {
    struct linear_base base;
    struct gpu_layer layer;
    void *on_device; /* a copy of `layer`, for kernels that choose among layers */
    void *among;     /* of the first expert: addresses of all, of gate and up, then of down */
    const void *among_of;
};

bool cuda_linear_new(struct device *base, struct linear **out, const struct matrix *part, int n_parts,
                     enum linear_join join, const float *bias, int rows_hint, struct err *e)
{
    struct cuda_device *d = cuda_of(base);
    (void)rows_hint;
    struct linear *l = calloc(1, sizeof *l);
    if (!l) return err_set(e, ERR_NOMEM, "no memory for a layer");
    l->base = (struct linear_base){ .device = base, .n_in = part[0].n_in };
    int64_t n_out = 0;
    bool ok = true;
    for (int i = 0; ok && i < n_parts; i++) {
        ok = matrix_new(d, &l->layer.part[i], &part[i], e);
        if (ok) l->layer.n_parts = i + 1;
        n_out += part[i].n_out;
    }
    l->base.n_out = join == LINEAR_PAIRED ? part[0].n_out : n_out;
    l->layer.n_in = l->base.n_in;
    l->layer.n_out = l->base.n_out;
    l->layer.paired = join == LINEAR_PAIRED;
    if (ok && bias) {
        l->layer.bias = cuda_memory_of(d, bias, (size_t)n_out * sizeof *bias, e);
        ok = l->layer.bias != NULL;
    }
    if (ok) ok = (l->on_device = cuda_memory_of(d, &l->layer, sizeof l->layer, e)) != NULL;
    if (ok)
        *out = l;
    else
        cuda_linear_free(l);
    return ok;
}

void cuda_linear_free(struct linear *l)
{
    struct cuda_device *d = cuda_of(l->base.device);
    for (int i = 0; i < l->layer.n_parts; i++) matrix_free(d, &l->layer.part[i]);
    cuda_memory_free(d, l->layer.bias);
    cuda_memory_free(d, l->on_device);
    cuda_memory_free(d, l->among);
    free(l);
}

bool cuda_linear_is_copy(const struct linear *l)
{
    (void)l;
    return true;
}

/* Sums are f32 and inputs are not rounded: there is nothing finer. */
void cuda_linear_set_fine(struct linear *l) { (void)l; }

size_t cuda_linear_bytes(const struct linear *l)
{
    size_t bytes = 0;
    for (int i = 0; i < l->layer.n_parts; i++) bytes += matrix_bytes(&l->layer.part[i]);
    return bytes;
}

/* ---- products -------------------------------------------------------------------------------------------------------- */

/* Blocks beside each other in y are at most 65,535. */
enum { GRID_ROWS = 65535 };

static void run_rows(struct cuda_device *d, const struct linear_args *a, const float *x, int64_t ldx)
{
    struct linear_params p = {
        .layer = a->w->layer, .gate = a->gate, .ldx = ldx, .ldy = a->ldy, .epi = (int32_t)a->epi
    };
    const int64_t step = a->n == 1 ? 1 : (int64_t)MANY_ROWS * GRID_ROWS;
    for (int64_t r = 0; r < a->n; r += step) {
        p.n = a->n - r < step ? a->n - r : step;
        p.x = x + r * ldx;
        p.y = a->y + r * a->ldy;
        struct cuda_grid grid = cuda_warps(p.layer.n_out, WARPS);
        grid.y = (unsigned)(a->n == 1 ? 1 : (p.n + MANY_ROWS - 1) / MANY_ROWS);
        cuda_launch(d, a->n == 1 ? K_linear_few : K_linear_rows, grid, &p);
    }
}

/* Rows that are normalised first go through scratch, so many at a time. */
enum { NORMED_ROWS = 256 };

void cuda_linear(struct device *base, const struct linear_args *a)
{
    struct cuda_device *d = cuda_of(base);
    const int64_t n_in = a->w->base.n_in;
    if (!a->norm) {
        run_rows(d, a, a->x, a->ldx);
        return;
    }
    float *normed = cuda_scratch(d, (size_t)(NORMED_ROWS * n_in) * sizeof *normed);
    for (int64_t r = 0; normed && r < a->n; r += NORMED_ROWS) {
        struct linear_args some = *a;
        some.n = a->n - r < NORMED_ROWS ? a->n - r : NORMED_ROWS;
        some.y = a->y + r * a->ldy;
        cuda_rmsnorm(base, normed, n_in, a->x + r * a->ldx, a->ldx, some.n, n_in, a->norm, a->eps);
        run_rows(d, &some, normed, n_in);
    }
}

void cuda_linear_each(struct device *base, const struct linear_each_args *a)
{
    for (int i = 0; i < a->n_w; i++)
        cuda_linear(base, &(struct linear_args){ .w = a->w[i],
                                                 .x = a->x + i * a->dx,
                                                 .ldx = a->ldx,
                                                 .y = a->y + i * a->dy,
                                                 .ldy = a->ldy,
                                                 .n = a->n });
}

/* ---- experts --------------------------------------------------------------------------------------------------------- */

/* Where the experts' layers are, on the device; made when the experts are first used. */
static const struct gpu_layer *const *among(struct cuda_device *d, const struct moe_args *a)
{
    struct linear *first = a->gate_up[0];
    if (first->among_of != a->gate_up) {
        const void **address = malloc(2 * (size_t)a->n_expert * sizeof *address);
        struct err e;
        cuda_memory_free(d, first->among);
        first->among = NULL;
        for (int i = 0; address && i < a->n_expert; i++) {
            address[i] = a->gate_up[i]->on_device;
            address[a->n_expert + i] = a->down[i]->on_device;
        }
        if (address)
            first->among = cuda_memory_of(d, address, 2 * (size_t)a->n_expert * sizeof *address, &e);
        else
            err_set(&e, ERR_NOMEM, "no memory for the experts' addresses");
        free(address);
        first->among_of = first->among ? a->gate_up : NULL;
        if (!first->among) device_fail(&d->base, &e);
    }
    return first->among;
}

/* Pairs of a row and an expert whose hidden values stand in scratch at once. */
enum { PAIRS = 2048 };

void cuda_moe(struct device *base, const struct moe_args *a)
{
    struct cuda_device *d = cuda_of(base);
    const int64_t n_in = a->gate_up[0]->base.n_in, hidden = a->gate_up[0]->base.n_out;
    const int64_t most = PAIRS / a->k > 0 ? PAIRS / a->k : 1;
    const struct gpu_layer *const *layer = among(d, a);
    float *up = layer ? cuda_scratch(d, (size_t)(most * a->k * (hidden + n_in)) * sizeof *up) : NULL;
    float *down = up + most * a->k * hidden;
    for (int64_t r = 0; up && r < a->n; r += most) {
        const int64_t n = a->n - r < most ? a->n - r : most;
        struct expert_params p = { .layer = layer,
                                   .expert = a->expert + r * a->k,
                                   .weight = a->weight_on_input ? a->weight + r * a->k : NULL,
                                   .x = a->x + r * a->ldx,
                                   .ldx = a->ldx,
                                   .y = up,
                                   .n_out = hidden,
                                   .pairs = n * a->k,
                                   .k = a->k,
                                   .epi = (int32_t)a->epi };
        struct cuda_grid grid = cuda_warps(hidden, WARPS);
        grid.y = (unsigned)p.pairs;
        cuda_launch(d, K_expert_rows, grid, &p);
        p.layer = layer + a->n_expert;
        p.weight = NULL;
        p.x = up;
        p.ldx = hidden;
        p.y = down;
        p.n_out = n_in;
        p.per_row = 1;
        p.epi = EPI_STORE;
        grid = cuda_warps(n_in, WARPS);
        grid.y = (unsigned)p.pairs;
        cuda_launch(d, K_expert_rows, grid, &p);
        const struct join_params j = { .y = a->y + r * a->ldy,
                                       .part = down,
                                       .weight = a->weight_on_input ? NULL : a->weight + r * a->k,
                                       .ldy = a->ldy,
                                       .n = n,
                                       .n_cols = n_in,
                                       .k = a->k };
        cuda_launch(d, K_join_experts, cuda_over(n * n_in), &j);
    }
}

/* ---- tables ---------------------------------------------------------------------------------------------------------- */

struct table {
    struct table_base base;
    struct gpu_matrix m;
};

bool cuda_table_new(struct device *base, struct table **out, const struct matrix *m, struct err *e)
{
    struct table *t = calloc(1, sizeof *t);
    if (!t) return err_set(e, ERR_NOMEM, "no memory for a table");
    t->base.device = base;
    if (!matrix_new(cuda_of(base), &t->m, m, e)) {
        free(t);
        return false;
    }
    *out = t;
    return true;
}

void cuda_table_free(struct table *t)
{
    matrix_free(cuda_of(t->base.device), &t->m);
    free(t);
}

void cuda_embed(struct device *base, dev_float *y, int64_t ldy, const struct table *t, const dev_int *ids,
                int64_t n)
{
    const struct embed_params p = { .table = t->m, .ids = ids, .y = y, .ldy = ldy, .n = n };
    cuda_launch(cuda_of(base), K_embed_rows, cuda_over(n * ((t->m.n_in + 7) / 8)), &p);
}
