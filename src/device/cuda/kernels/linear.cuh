/* linear.cuh - products with weights: a warp an output, eight elements a lane at a time. The sum of an output has one order, which n_in
 * alone decides: lanes take eights in turn, then the lanes are added as a tree. So a row has the same bits alone and among others. */
#include "device/cuda/kernels/weights.cuh"

enum { FEW_ROWS = 1, MANY_ROWS = 8, WARPS = 4 };

/* sum[r] = row o of m times x[r], in every lane. */
template <int ROWS>
static __device__ __forceinline__ void dot_rows(const struct gpu_matrix *m, int64_t o, const float *x,
                                                int64_t ldx, int rows, float by, float sum[ROWS])
{
    const int lane = threadIdx.x % WARP;
    for (int r = 0; r < ROWS; r++) sum[r] = 0;
    for (int64_t k = 8 * lane; k < m->n_in; k += 8 * WARP) {
        float w[8];
        const int left = m->n_in - k < 8 ? (int)(m->n_in - k) : 8;
        matrix_8(m, o, k, w);
        for (int r = 0; r < ROWS && r < rows; r++)
            for (int i = 0; i < left; i++)
                sum[r] = fmaf(w[i], x[r * ldx + (m->from ? m->from[k + i] : k + i)] * by, sum[r]);
    }
    for (int r = 0; r < ROWS && r < rows; r++) sum[r] = warp_sum(sum[r]);
}

/* Which part output o belongs to; o becomes its row there. */
static __device__ __forceinline__ const struct gpu_matrix *part_of(const struct gpu_layer *l, int64_t *o)
{
    int i = 0;
    while (i + 1 < l->n_parts && *o >= l->part[i].n_out) *o -= l->part[i++].n_out;
    return &l->part[i];
}

/* Output o of a layer for some rows, in every lane: v, and for a pair v2. */
template <int ROWS>
static __device__ __forceinline__ void layer_rows(const struct gpu_layer *l, int64_t o, const float *x,
                                                  int64_t ldx, int rows, float by, float v[ROWS],
                                                  float v2[ROWS])
{
    int64_t at = o;
    const struct gpu_matrix *m = l->paired ? &l->part[0] : part_of(l, &at);
    dot_rows<ROWS>(m, at, x, ldx, rows, by, v);
    if (l->paired) dot_rows<ROWS>(&l->part[1], at, x, ldx, rows, by, v2);
    for (int r = 0; l->bias && r < ROWS; r++) {
        v[r] += l->bias[o];
        if (l->paired) v2[r] += l->bias[o + l->n_out];
    }
}

/* Grid: outputs in x, rows in y, ROWS at a time. */
template <int ROWS> static __device__ __forceinline__ void linear(const struct linear_params *p)
{
    const int64_t o = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP;
    const int64_t first = (int64_t)blockIdx.y * ROWS;
    const int rows = p->n - first < ROWS ? (int)(p->n - first) : ROWS;
    float v[ROWS], v2[ROWS] = {};
    if (o >= p->layer.n_out) return;
    layer_rows<ROWS>(&p->layer, o, p->x + first * p->ldx, p->ldx, rows, 1.0f, v, v2);
    if (threadIdx.x % WARP) return;
    for (int r = 0; r < ROWS && r < rows; r++) {
        float *y = p->y + (first + r) * p->ldy + o;
        if (p->epi == E_ADD)
            *y += v[r];
        else if (p->epi == E_GATE_ADD)
            *y += p->gate[o] * v[r];
        else
            *y = activated(p->epi, v[r], v2[r]);
    }
}

KERNEL_BODY(linear_few, linear_params) { linear<FEW_ROWS>(&p); }
KERNEL_BODY(linear_rows, linear_params) { linear<MANY_ROWS>(&p); }

/* Grid: outputs in x, pairs of a row and an expert in y. */
KERNEL_BODY(expert_rows, expert_params)
{
    const int64_t o = (int64_t)blockIdx.x * WARPS + threadIdx.x / WARP, pair = blockIdx.y;
    float v[1], v2[1] = {};
    if (o >= p.n_out) return;
    const struct gpu_layer *l = p.layer[p.expert[pair]];
    const float *x = p.x + (p.per_row ? pair : pair / p.k) * p.ldx;
    layer_rows<1>(l, o, x, 0, 1, p.weight ? p.weight[pair] : 1.0f, v, v2);
    if (threadIdx.x % WARP == 0) p.y[pair * p.n_out + o] = activated(p.epi, v[0], v2[0]);
}

KERNEL_BODY(join_experts, join_params)
{
    for (int64_t i = grid_first(); i < p.n * p.n_cols; i += grid_step()) {
        const int64_t r = i / p.n_cols, c = i % p.n_cols;
        float *y = p.y + r * p.ldy + c;
        for (int j = 0; j < p.k; j++)
            *y += (p.weight ? p.weight[r * p.k + j] : 1.0f) * p.part[(r * p.k + j) * p.n_cols + c];
    }
}

KERNEL_BODY(embed_rows, embed_params)
{
    const int64_t eights = (p.table.n_in + 7) / 8;
    for (int64_t i = grid_first(); i < p.n * eights; i += grid_step()) {
        const int64_t r = i / eights, k = i % eights * 8;
        float w[8];
        matrix_8(&p.table, p.ids[r], k, w);
        for (int c = 0; c < 8 && k + c < p.table.n_in; c++) p.y[r * p.ldy + k + c] = w[c];
    }
}
