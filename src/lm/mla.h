/* mla.h - multi-head latent attention (DeepSeek V2 and V3), in the place of decoder.c's q, k, v and attention.
 *
 *   c        = kv_a(x) [kv_rank + rope]: a latent, and one rotary key for all heads
 *   latent   = norm(c[:kv_rank]);  k_rot = rotate(c[kv_rank:])
 *   q[h]     = q_b(norm(q_a(x))) [nope + rope] (or q(x) where there is no q_rank); its last `rope` channels rotate
 *   k[h]     = K[h] latent, then k_rot;  v[h] = V[h] latent;  K and V are the two halves of kv_b
 *   out[h]   = sum of softmax(scale * q[h].k[h]) v[h]
 *
 * What is computed is the absorbed form, for prompts too, so that a row's bytes do not depend on how many go through together, nor on
 * whether a position was once generated and now stands in a prompt (a cached prefix, a sequence set back):
 * q[h].k[h] = (K[h]^T q_nope).latent + q_rot.k_rot, and out[h] = V[h] (sum of p latent). The cache holds the latent and k_rot of a
 * token and layer, kv_rank + rope numbers (576 in all published models where k and v of every head would be 40960); a value is the
 * beginning of its key (kv_layer.v_in_k).
 * Files    K is stored as it is used in newer GGUF files (attn_k_b [n_head, kv_rank, nope], and attn_v_b); elsewhere kv_b holds
 *          nope rows of K^T[h] and v rows of V[h], head after head: K is turned over at load, in the type it has, FP8 as BF16 with its
 *          scales (both exact), quantised ones as F16.
 * Memory   as layers.h. */
#ifndef HEARTH_LM_MLA_H
#define HEARTH_LM_MLA_H

#include "lm/layers.h"

/* The tensors of a layer. */
struct mla_slots {
    const struct tensor_slot *q_a, *q_norm; /* empty: no q_rank */
    const struct tensor_slot *q;            /* from q_rank channels, or from n_embd */
    const struct tensor_slot *kv_a, *kv_norm;
    const struct tensor_slot *kv_b;      /* K and V in one, or empty and */
    const struct tensor_slot *k_b, *v_b; /* apart */
};

struct mla {
    struct linear *down;    /* q_a (or q) and kv_a, one after the other */
    struct linear *q;       /* q_b; NULL: no q_rank */
    struct linear **k, **v; /* [n_head] kv_rank from nope, and v from kv_rank */
    const dev_float *q_norm, *kv_norm;
    int n_head;
};

/* On failure *a is to be freed too. */
bool mla_load(struct layer_maker *mk, struct mla *a, const struct lm_shape *s, const struct mla_slots *t,
              struct err *e);
void mla_free(struct mla *a);

/* Activations of a step, taken from an arena once. */
struct mla_room {
    dev_float *down, *q, *wide, *latent;
};
size_t mla_room_cost(const struct lm_shape *s, size_t rows);
void mla_room_take(struct mla_room *r, const struct lm_shape *s, struct device_arena *a, size_t rows);

/* What attention is asked with. */
struct mla_step {
    const struct lm_shape *shape;
    const struct lm_layer_shape *layer;
    const dev_float *norm, *freq; /* before the layer; of the rotary embedding */
    const dev_int *pos;           /* [rows] */
    int64_t rows;
    struct attn_args at; /* the cache, sequences and pages; the rest is filled in */
};
/* out [rows, n_head * v] from x [rows, n_embd]. */
void mla_run(struct device *d, const struct mla *a, const struct mla_step *st, const struct mla_room *r,
             const dev_float *x, dev_float *out);

#endif
