/* decoder.h - the pre-norm decoder that Llama, Mistral, Mixtral, Qwen2 and Qwen3 share.
 *
 *   x += out(attention(rope(norm_q(q)), rope(norm_k(k)), v))    q, k, v = qkv(rms(x)); grouped heads, causal
 *   x += down(silu(gate(rms(x))) * up(rms(x)))                  or routed experts of that form
 *   logits = head(rms(x))
 *
 * A family is a table of names and a few fields; what a layer lacks (head norms, biases, experts) is NULL in it. About six
 * device operations a layer: norms are folded into the products that read them, residual additions into those that
 * write them, q, k and v are one product and so are gate and up. */
#ifndef HEARTH_LM_DECODER_H
#define HEARTH_LM_DECODER_H

#include "lm/arch.h"
#include "lm/hparams.h"
#include "lm/bind.h"

/* clang-format off */
/* Dimension numbers for tensor_spec.dim. */
enum { DIM_VOCAB = 1, DIM_EMBD, DIM_Q, DIM_KV, DIM_HEAD, DIM_FF, DIM_HALF_ROT, DIM_EXPERT, DIM_FF_EXPERT, DIM_2FF_EXPERT,
       DIM_COUNT };

enum { G_EMBD, G_NORM, G_HEAD, G_ROPE_FREQS, G_COUNT };
enum { L_ATTN_NORM, L_Q, L_K, L_V, L_OUT, L_Q_BIAS, L_K_BIAS, L_V_BIAS, L_OUT_BIAS, L_Q_NORM, L_K_NORM, L_FFN_NORM,
       L_GATE, L_UP, L_DOWN, L_GATE_BIAS, L_UP_BIAS, L_DOWN_BIAS,
       L_ROUTER, L_GATE_EXPS, L_UP_EXPS, L_GATE_UP_EXPS, L_DOWN_EXPS, L_COUNT };
enum { E_GATE, E_UP, E_DOWN, E_COUNT };
/* clang-format on */

struct tensor_specs {
    const struct tensor_spec *row;
    int n;
};

struct decoder_family {
    const struct hparam_family *member; /* model types that share the tables below */
    int n_members;
    struct tensor_specs layer;  /* beyond attention, norms and dense feed-forward, which all have */
    struct tensor_specs moe;    /* router and stacked experts */
    struct tensor_specs expert; /* one tensor an expert, for files without stacks */
    enum rope_layout rope_gguf, rope_hf;
};

/* The tables of llama.c and qwen3.c. */
extern const struct decoder_family llama_family, qwen2_family, qwen3_family;

bool decoder_recognises(const struct decoder_family *f, const struct weights *w);
bool decoder_check(const struct decoder_family *f, struct lm_shape *shape, const struct weights *w,
                   struct err *e);
bool decoder_load(const struct decoder_family *f, struct lm_net **out, struct lm_shape *shape,
                  const struct weights *w, struct device *d, int max_rows, struct err *e);
void decoder_free(struct lm_net *n);
void decoder_step(struct lm_net *n, const struct lm_batch *b, const struct kv_layer *kv);
void decoder_head(struct lm_net *n, const int32_t *row, int n_out, float *logits);
size_t decoder_bytes(const struct lm_net *n);

#endif
