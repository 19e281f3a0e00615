/* attention.c - positions, attention, norms and routing: what the kernels of these families are given. */
#include "device/cuda/cuda_device.h"

enum { WARPS = 4 };

void cuda_rope(struct device *d, const struct rope_args *a)
{
    const struct rope_params p = { .x = a->x,
                                   .pos = a->pos,
                                   .freq = a->freq,
                                   .head_norm = a->head_norm,
                                   .ld = a->ld,
                                   .n = a->n,
                                   .n_head = a->n_head,
                                   .head_dim = a->head_dim,
                                   .n_rot = a->n_rot,
                                   .pairs = a->layout == ROPE_INTERLEAVED,
                                   .norm_after = a->norm_after,
                                   .mscale = a->mscale,
                                   .eps = a->eps };
    cuda_launch(cuda_of(d), K_rope_rows, cuda_warps(a->n * a->n_head, WARPS), &p);
}

void cuda_rope_table(struct device *d, dev_float *x, int64_t ld, int64_t n, int n_head, int head_dim,
                     const dev_float *cos, const dev_float *sin, const dev_float *head_norm, float eps)
{
    const struct rope_table_params p = { .x = x,
                                         .cos = cos,
                                         .sin = sin,
                                         .head_norm = head_norm,
                                         .ld = ld,
                                         .n = n,
                                         .n_head = n_head,
                                         .head_dim = head_dim,
                                         .eps = eps };
    cuda_launch(cuda_of(d), K_rope_by_table, cuda_warps(n * n_head, WARPS), &p);
}

static struct page_layout layout_of(enum kv_type t, int k_dim, int v_dim, bool v_in_k)
{
    struct page_layout l = { .k_dim = k_dim, .v_dim = v_dim, .v_in_k = v_in_k, .q8 = t == KV_Q8_0 };
    const int64_t kept = v_in_k ? 0 : KV_PAGE, elem = t == KV_F16 ? 2 : 1;
    l.v_pad = (v_dim + 31) / 32 * 32;
    l.k_blocks = (k_dim + 31) / 32;
    l.v_blocks = l.v_pad / 32;
    l.k_scales = (int64_t)k_dim * KV_PAGE * elem;
    l.v = l.k_scales + (l.q8 ? (int64_t)l.k_blocks * KV_PAGE * 2 : 0);
    l.v_scales = l.v + kept * l.v_pad * elem;
    l.head_bytes = (l.v_scales + (l.q8 ? kept * l.v_blocks * 2 : 0) + 63) / 64 * 64;
    return l;
}

size_t cuda_kv_page_bytes(const struct device *d, enum kv_type t, int n_kv_head, int k_dim, int v_dim)
{
    (void)d;
    return (size_t)n_kv_head * (size_t)layout_of(t, k_dim, v_dim, v_dim == 0).head_bytes;
}

void cuda_attention_paged(struct device *base, const struct attn_args *a)
{
    struct cuda_device *d = cuda_of(base);
    const struct kv_layer *kv = a->kv;
    int64_t most = 0;
    for (int i = 0; i < a->n_seq; i++) most = a->seq[i].n > most ? a->seq[i].n : most;
    const struct paged_params p = { .layout = layout_of(kv->type, kv->k_dim, kv->v_dim, kv->v_in_k),
                                    .pages = kv->pages,
                                    .page_stride = (int64_t)kv->page_stride,
                                    .where = a->where,
                                    .page = a->page,
                                    .q = a->q,
                                    .k = a->k,
                                    .v = a->v,
                                    .sink = a->sink,
                                    .out = a->out,
                                    .ldq = a->ldq,
                                    .ldk = a->ldk,
                                    .ldv = a->ldv,
                                    .ldo = a->ldo,
                                    .n_seq = a->n_seq,
                                    .max_pages = a->max_pages,
                                    .n_head = a->n_head,
                                    .n_kv_head = kv->n_kv_head,
                                    .chunk = a->chunk,
                                    .window = a->window,
                                    .scale = a->scale };
    struct cuda_grid grid = cuda_over(most * kv->n_kv_head * (p.layout.k_blocks + p.layout.v_blocks));
    grid.y = (unsigned)a->n_seq;
    cuda_launch(d, K_paged_put, grid, &p);
    grid = cuda_warps(most * a->n_head, WARPS);
    grid.y = (unsigned)a->n_seq;
    cuda_launch(d, K_paged_attend, grid, &p);
}

void cuda_attention(struct device *d, const struct attention_args *a)
{
    for (int i = 0; a->seq && i < a->n_seq; i++) { /* texts, each by itself */
        const struct attn_seq *s = &a->seq[i];
        struct attention_args one = *a;
        one.seq = NULL;
        one.q += s->row * a->ldq;
        one.k += s->row * a->ldk;
        one.v += s->row * a->ldv;
        one.out += s->row * a->ldo;
        one.n_q = one.n_kv = s->n;
        if (s->n > 0) cuda_attention(d, &one);
    }
    if (a->seq) return;
    const struct attention_params p = { .q = a->q,
                                        .k = a->k,
                                        .v = a->v,
                                        .bias = a->bias,
                                        .out = a->out,
                                        .ldq = a->ldq,
                                        .ldk = a->ldk,
                                        .ldv = a->ldv,
                                        .ldo = a->ldo,
                                        .n_q = a->n_q,
                                        .n_kv = a->n_kv,
                                        .n_head = a->n_head,
                                        .n_kv_head = a->n_kv_head,
                                        .head_dim = a->head_dim,
                                        .causal = a->causal,
                                        .scale = a->scale };
    cuda_launch(cuda_of(d), K_attend_rows, cuda_warps(a->n_q * a->n_head, WARPS), &p);
}

void cuda_rmsnorm(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n,
                  int64_t n_embd, const dev_float *w, float eps)
{
    const struct norm_params p = {
        .y = y, .x = x, .w = w, .ldy = ldy, .ldx = ldx, .n = n, .n_embd = n_embd, .eps = eps
    };
    cuda_launch(cuda_of(d), K_norm_rows, cuda_warps(n, WARPS), &p);
}

void cuda_layernorm(struct device *d, dev_float *y, int64_t ldy, const dev_float *x, int64_t ldx, int64_t n,
                    int64_t n_embd, const dev_float *w, const dev_float *b, float eps, const dev_float *scale,
                    const dev_float *shift)
{
    const struct norm_params p = { .y = y,
                                   .x = x,
                                   .w = w,
                                   .b = b,
                                   .scale = scale,
                                   .shift = shift,
                                   .ldy = ldy,
                                   .ldx = ldx,
                                   .n = n,
                                   .n_embd = n_embd,
                                   .eps = eps,
                                   .layer = 1 };
    cuda_launch(cuda_of(d), K_norm_rows, cuda_warps(n, WARPS), &p);
}

void cuda_groupnorm_fold(struct device *d, dev_float *scale, dev_float *shift, const dev_float *x, int64_t hw,
                         int c, int groups, const dev_float *w, const dev_float *b, float eps)
{
    const struct group_params p = {
        .scale = scale, .shift = shift, .x = x, .w = w, .b = b, .hw = hw, .c = c, .groups = groups, .eps = eps
    };
    cuda_launch(cuda_of(d), K_group_fold, (struct cuda_grid){ (unsigned)groups, 1, 256 }, &p);
}

void cuda_route(struct device *d, const struct route_args *a)
{
    const struct route_params p = { .logits = a->logits,
                                    .weight = a->weight,
                                    .expert = a->expert,
                                    .bias = a->bias,
                                    .n = a->n,
                                    .n_expert = a->n_expert,
                                    .k = a->k,
                                    .n_group = a->n_group,
                                    .n_group_used = a->n_group_used,
                                    .group_best = a->group_best,
                                    .softmax = a->kind == ROUTE_SOFTMAX,
                                    .renorm = a->renorm,
                                    .scale = a->scale };
    cuda_launch(cuda_of(d), K_route_rows, cuda_warps(a->n, 1), &p);
}
