/* attention.cuh - attention over the paged cache and over dense rows: a warp a query of a head, 32 keys at a time in ascending order, one
 * softmax update for each 32. A query's bits depend on its own keys alone. */
#include "device/cuda/kernels/gpu.h"

enum { PAGE = 32, MOST_DIM = 1024, LANE_DIM = MOST_DIM / WARP };

/* ---- the cache ------------------------------------------------------------------------------------------------------ */

static __device__ __forceinline__ float cached_half(const unsigned char *p, int64_t i)
{
    return half_value(((const uint16_t *)p)[i]);
}

/* n <= 32 channels at once to int8; returns the scale as it is kept. */
static __device__ float round_block(const float *x, int n, signed char q[32], uint16_t *kept)
{
    float most = 0;
    for (int i = 0; i < n; i++) most = fmaxf(most, fabsf(x[i]));
    *kept = half_bits(most / 127.0f);
    const float scale = half_value(*kept), inv = scale > 0 ? 1.0f / scale : 0;
    for (int i = 0; i < 32; i++) {
        const float v = i < n ? fminf(fmaxf(x[i] * inv, -127.0f), 127.0f) : 0;
        q[i] = (signed char)rintf(v);
    }
    return scale;
}

static __device__ __forceinline__ const unsigned char *piece_of(const struct paged_params *p, int64_t page,
                                                                int head)
{
    return p->pages + page * p->page_stride + head * p->layout.head_bytes;
}

/* Keys or values of one token and head: those of 32 channels from d0. */
static __device__ void put_keys(const struct page_layout *l, unsigned char *piece, int t, const float *k,
                                int d0)
{
    const int n = l->k_dim - d0 < 32 ? l->k_dim - d0 : 32;
    if (!l->q8) {
        for (int d = d0; d < d0 + n; d++) ((uint16_t *)piece)[d * PAGE + t] = half_bits(k[d]);
        return;
    }
    signed char q[32];
    uint16_t scale;
    round_block(k + d0, n, q, &scale);
    ((uint16_t *)(piece + l->k_scales))[d0 / 32 * PAGE + t] = scale;
    for (int i = 0; i < n; i++) piece[(d0 + i) * PAGE + t] = (unsigned char)q[i];
}

static __device__ void put_values(const struct page_layout *l, unsigned char *piece, int t, const float *v,
                                  int d0)
{
    const int n = l->v_dim - d0 < 32 ? l->v_dim - d0 : 32;
    if (!l->q8) {
        uint16_t *row = (uint16_t *)(piece + l->v) + (int64_t)t * l->v_pad;
        for (int i = 0; i < 32; i++) row[d0 + i] = half_bits(i < n ? v[d0 + i] : 0);
        return;
    }
    signed char q[32];
    uint16_t scale;
    round_block(v + d0, n, q, &scale);
    ((uint16_t *)(piece + l->v_scales))[t * l->v_blocks + d0 / 32] = scale;
    for (int i = 0; i < 32; i++) piece[l->v + (int64_t)t * l->v_pad + d0 + i] = (unsigned char)q[i];
}

/* Grid: new tokens' blocks of channels in x, sequences in y. */
KERNEL_BODY(paged_put, paged_params)
{
    const struct page_layout *l = &p.layout;
    const int32_t *seq = p.where + 3 * blockIdx.y;
    const int blocks = l->k_blocks + (l->v_in_k ? 0 : l->v_blocks);
    const int64_t n = (int64_t)seq[1] * p.n_kv_head * blocks;
    for (int64_t i = grid_first(); i < n; i += grid_step()) {
        const int b = (int)(i % blocks), h = (int)(i / blocks % p.n_kv_head);
        const int64_t r = i / blocks / p.n_kv_head, pos = seq[2] + r, row = seq[0] + r;
        const int32_t page = p.page[(int64_t)blockIdx.y * p.max_pages + pos / PAGE];
        unsigned char *piece = p.pages + page * p.page_stride + h * l->head_bytes;
        if (b < l->k_blocks)
            put_keys(l, piece, (int)(pos % PAGE), p.k + row * p.ldk + (int64_t)h * l->k_dim, 32 * b);
        else
            put_values(l, piece, (int)(pos % PAGE), p.v + row * p.ldv + (int64_t)h * l->v_dim,
                       32 * (b - l->k_blocks));
    }
}

/* The product of a query and token t's key. */
static __device__ __forceinline__ float key_score(const struct page_layout *l, const unsigned char *piece,
                                                  int t, const float *q)
{
    float s = 0;
    if (!l->q8) {
        for (int d = 0; d < l->k_dim; d++) s = fmaf(q[d], cached_half(piece, d * PAGE + t), s);
        return s;
    }
    for (int b = 0; b < l->k_blocks; b++) {
        float part = 0;
        for (int d = 32 * b; d < 32 * b + 32 && d < l->k_dim; d++)
            part = fmaf(q[d], (float)(signed char)piece[d * PAGE + t], part);
        s = fmaf(part, cached_half(piece + l->k_scales, b * PAGE + t), s);
    }
    return s;
}

/* Channel d of token t's value. */
static __device__ __forceinline__ float value_at(const struct page_layout *l, const unsigned char *piece,
                                                 int t, int d)
{
    const int64_t key = d * PAGE + t, at = (int64_t)t * l->v_pad + d;
    if (l->v_in_k)
        return l->q8 ? (float)(signed char)piece[key] * cached_half(piece + l->k_scales, d / 32 * PAGE + t)
                     : cached_half(piece, key);
    if (!l->q8) return cached_half(piece + l->v, at);
    return (float)(signed char)piece[l->v + at] * cached_half(piece + l->v_scales, t * l->v_blocks + d / 32);
}

/* ---- a softmax that goes on ------------------------------------------------------------------------------------------- */

struct running {
    float max, sum, acc[LANE_DIM]; /* acc: channels lane, lane + 32, ... */
};

/* Takes in 32 scores, one a lane; -INFINITY: a key that is not seen. Returns this lane's probability, relative to the new maximum. */
static __device__ __forceinline__ float take_scores(struct running *r, float score, int dim)
{
    const float max = fmaxf(r->max, warp_max(score));
    if (max == -INFINITY) return 0;
    const float shrink = expf(r->max - max), prob = expf(score - max);
    r->sum = fmaf(r->sum, shrink, warp_sum(prob));
    for (int i = 0; i < LANE_DIM && i * WARP < dim; i++) r->acc[i] *= shrink;
    r->max = max;
    return prob;
}

/* Grid: query heads of new tokens in x, sequences in y; a warp each. */
KERNEL_BODY(paged_attend, paged_params)
{
    const struct page_layout *l = &p.layout;
    const int lane = threadIdx.x % WARP;
    const int32_t *seq = p.where + 3 * blockIdx.y;
    const int64_t at = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (at >= (int64_t)seq[1] * p.n_head) return;
    const int head = (int)(at % p.n_head), kv_head = head / (p.n_head / p.n_kv_head);
    const int64_t r = at / p.n_head;
    const int32_t pos = seq[2] + (int32_t)r;
    int32_t first = p.chunk > 0 ? pos / p.chunk * p.chunk : 0;
    if (p.window > 0 && pos - p.window + 1 > first) first = pos - p.window + 1;
    const float *q = p.q + (seq[0] + r) * p.ldq + (int64_t)head * l->k_dim;
    struct running s = {};
    s.max = p.sink ? p.sink[head] : -INFINITY;
    s.sum = p.sink && p.sink[head] > -INFINITY ? 1.0f : 0;
    for (int32_t page = first / PAGE; page <= pos / PAGE; page++) {
        const unsigned char *piece = piece_of(&p, p.page[(int64_t)blockIdx.y * p.max_pages + page], kv_head);
        const int32_t key = page * PAGE + lane;
        const bool seen = key >= first && key <= pos;
        const float prob =
            take_scores(&s, seen ? p.scale * key_score(l, piece, lane, q) : -INFINITY, l->v_dim);
        const int lo = first > page * PAGE ? first - page * PAGE : 0;
        const int hi = pos - page * PAGE < PAGE - 1 ? pos - page * PAGE : PAGE - 1;
        for (int t = lo; t <= hi; t++) {
            const float by = __shfl_sync(0xffffffffu, prob, t);
            for (int i = 0, d = lane; d < l->v_dim; i++, d += WARP)
                s.acc[i] = fmaf(by, value_at(l, piece, t, d), s.acc[i]);
        }
    }
    float *out = p.out + (seq[0] + r) * p.ldo + (int64_t)head * l->v_dim;
    for (int i = 0, d = lane; d < l->v_dim; i++, d += WARP) out[d] = s.acc[i] / s.sum;
}

/* Grid: queries and heads in x; a warp each. */
KERNEL_BODY(attend_rows, attention_params)
{
    const int lane = threadIdx.x % WARP, dim = p.head_dim;
    const int64_t at = (int64_t)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (at >= p.n_q * p.n_head) return;
    const int head = (int)(at % p.n_head), kv_head = head / (p.n_head / p.n_kv_head);
    const int64_t r = at / p.n_head, n_kv = p.causal && r + 1 < p.n_kv ? r + 1 : p.n_kv;
    const float *q = p.q + r * p.ldq + (int64_t)head * dim;
    const float *k = p.k + (int64_t)kv_head * dim, *v = p.v + (int64_t)kv_head * dim;
    const float *bias = p.bias ? p.bias + ((int64_t)head * p.n_q + r) * p.n_kv : NULL;
    struct running s = {};
    s.max = -INFINITY;
    for (int64_t k0 = 0; k0 < n_kv; k0 += WARP) {
        const int n = n_kv - k0 < WARP ? (int)(n_kv - k0) : WARP;
        float score = -INFINITY;
        if (lane < n) {
            const float *key = k + (k0 + lane) * p.ldk;
            score = 0;
            for (int d = 0; d < dim; d++) score = fmaf(q[d], key[d], score);
            score = score * p.scale + (bias ? bias[k0 + lane] : 0);
        }
        const float prob = take_scores(&s, score, dim);
        for (int t = 0; t < n; t++) {
            const float by = __shfl_sync(0xffffffffu, prob, t);
            for (int i = 0, d = lane; d < dim; i++, d += WARP)
                s.acc[i] = fmaf(by, v[(k0 + t) * p.ldv + d], s.acc[i]);
        }
    }
    float *out = p.out + r * p.ldo + (int64_t)head * dim;
    for (int i = 0, d = lane; d < dim; i++, d += WARP) out[d] = s.sum > 0 ? s.acc[i] / s.sum : 0;
}
