/* paged_attention.h - keys and values in pages, and the kernels over them.
 *
 * Layout   A page holds KV_PAGE (32) tokens. For each kv head, one piece: its keys, then its values.
 *   f16    keys f16 [k_dim, 32] (a token is a column: scores of 32 tokens come out as lanes, with no sum across
 *          lanes); values f16 [32, v_pad], v_pad = v_dim rounded up to 32.
 *   q8_0   keys i8 [k_dim, 32] and scales f16 [k_blocks, 32]; values i8 [32, v_pad] and scales f16 [32, v_pad / 32]:
 *          blocks of 32 channels of a token share a scale, q = nearest(x / scale), scale = f16(max|x| / 127).
 *   v_in_k no values: they are read from the first v_dim rows of the keys, with those scales.
 *
 * Order    for one query, pages in ascending order:
 *              s[t]   = scale * sum over d ascending of fma(q[d], k[d][t], .)          (q8_0: see paged_plain.c)
 *              m'     = max(m, s[t]);  f = exp(m - m');  p[t] = exp(s[t] - m')
 *              l      = l * f + (the p[t] of this page, lanes t and t + 16 added, then folded in halves)
 *              o[d]   = o[d] * f, then fma(p[t], v[t][d], o[d]) over t ascending
 *          and o / l at the end. m begins at -inf and l at 0; with a sink at its score and 1. Tokens that the query may not see have p = 0. Nothing else enters, so the result does
 *          not depend on which queries are computed together, and every instruction set gives the same bits. */
#ifndef HEARTH_DEVICE_CPU_PAGED_ATTENTION_H
#define HEARTH_DEVICE_CPU_PAGED_ATTENTION_H

#include "device/backend.h"

#define PAGED_QUERIES 48 /* queries of a tile: several groups of those whose sums fit the registers */

struct paged_layout {
    int k_dim, v_dim, v_pad, k_blocks, v_blocks;
    bool v_in_k;
    size_t k_scales, v, v_scales; /* byte offsets in a head's piece; keys are at 0 */
    size_t head_bytes;
};

/* Up to PAGED_QUERIES queries of one sequence that share a kv head. */
struct paged_tile {
    const struct kv_layer *kv;
    const struct paged_layout *layout;
    const int32_t *page;
    int kv_head;
    int n;
    const float *q[PAGED_QUERIES];
    float *out[PAGED_QUERIES];                         /* [v_dim] */
    int32_t first[PAGED_QUERIES], last[PAGED_QUERIES]; /* positions it sees: [first, last] */
    float sink[PAGED_QUERIES];                         /* -INFINITY: none */
    float scale;
    float *acc; /* scratch, [PAGED_QUERIES, v_pad + k_dim] */
};

struct attn_kern {
    /* Rows [r0, r1) of op_rope(); table is scratch for n_rot floats. */
    void (*rope)(const struct rope_args *a, int64_t r0, int64_t r1, float *table);
    /* One token's key and value of one head into slot `t` of a head's piece. */
    void (*put)(enum kv_type type, const struct paged_layout *l, unsigned char *piece, int t, const float *k,
                const float *v);
    void (*attend)(const struct paged_tile *t);
};
extern const struct attn_kern attn_kern_plain, attn_kern_avx2, attn_kern_avx512, attn_kern_neon;

static inline unsigned char *paged_piece(const struct kv_layer *kv, const struct paged_layout *l,
                                         int32_t page, int kv_head)
{
    return kv->pages + (size_t)page * kv->page_stride + (size_t)kv_head * l->head_bytes;
}

#endif
