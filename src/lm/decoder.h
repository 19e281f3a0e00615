/* decoder.h - the decoder that Llama, Mistral, Mixtral, Qwen2 and Qwen3 share, and with other norms Gemma 3.
 *
 *   x += post_norm(out(attention(rope(norm_q(q)), rope(norm_k(k)), v)))    q, k, v = qkv(norm(x)); grouped heads, causal
 *   x += post_norm(down(act(gate(norm(x))) * up(norm(x))))                 or routed experts of that form
 *   logits = head(norm(x)), all norms RMS
 *
 * A family is a table of names and a few fields; what a layer lacks (norms, biases, experts) is NULL in it. What layers have of their
 * own (window, rotation, scale, experts) stands in their records (lm_layer_shape). About six device operations a layer: norms are
 * folded into the products that read them, residual additions into those that write them, q, k and v are one product and so are gate
 * and up. */
#ifndef HEARTH_LM_DECODER_H
#define HEARTH_LM_DECODER_H

#include "lm/arch.h"
#include "lm/hparams.h"
#include "lm/bind.h"

/* clang-format off */
/* Dimension numbers for tensor_spec.dim. */
enum { DIM_VOCAB = 1, DIM_EMBD, DIM_Q, DIM_KV, DIM_HEAD, DIM_FF, DIM_HALF_ROT, DIM_EXPERT, DIM_FF_EXPERT, DIM_2FF_EXPERT,
       DIM_FF_SHARED, DIM_HEADS, DIM_Q_RANK, DIM_KV_RANK, DIM_KV_A, DIM_KV_B, DIM_NOPE, DIM_V, DIM_ATT, DIM_QKV, DIM_2FF, DIM_COUNT };

enum { G_EMBD, G_NORM, G_HEAD, G_ROPE_FREQS, G_ROPE_NEAR, G_ROPE_FAR, G_COUNT };
enum { L_ATTN_NORM, L_ATTN_POST_NORM, L_FFN_NORM, L_FFN_POST_NORM, L_Q_NORM, L_K_NORM,
       L_QKV, L_Q, L_K, L_V, L_OUT, L_Q_BIAS, L_K_BIAS, L_V_BIAS, L_OUT_BIAS,
       L_Q_A, L_Q_A_NORM, L_KV_A, L_KV_A_NORM, L_KV_B, L_K_B, L_V_B,
       L_GATE_UP, L_GATE, L_UP, L_DOWN, L_GATE_BIAS, L_UP_BIAS, L_DOWN_BIAS,
       L_SINK, L_ROUTER_ADD, L_GATE_UP_EXPS_BIAS, L_GATE_EXPS_BIAS, L_UP_EXPS_BIAS, L_DOWN_EXPS_BIAS,
       L_ROUTER, L_ROUTER_BIAS, L_GATE_EXPS, L_UP_EXPS, L_GATE_UP_EXPS, L_DOWN_EXPS, L_SHARED_GATE, L_SHARED_UP, L_SHARED_DOWN,
       L_COUNT };
enum { E_GATE, E_UP, E_DOWN, E_COUNT };
/* clang-format on */

struct tensor_specs {
    const struct tensor_spec *row;
    int n;
};

/* The tensors of latent attention (mla.h), which stand for q, k, v and the output: those that all have, q in one step or in two, and k and v
 * joined or apart. */
struct latent_tables {
    struct tensor_specs all, q, q_two, joined, apart;
};

struct decoder_family {
    /* Of a layer, before and after attention and feed-forward. Each family says which name means which: post_attention_layernorm is the
     * norm before the feed-forward in some and the one after attention in others. A norm of a layer in the file that has no place is
     * refused. */
    const struct tensor_specs *norms;
    const struct tensor_specs *
        attention; /* q, k and v, one by one or joined, and the output; NULL: one by one, as Llama has them */
    const struct tensor_specs *
        dense; /* gate and up, one by one or joined, and down of layers without experts; NULL: as Llama has them */
    struct tensor_specs layer;          /* beyond attention, norms and dense feed-forward, which all have */
    struct tensor_specs moe;            /* router and stacked experts, shared ones */
    struct tensor_specs expert;         /* one tensor an expert, for files without stacks */
    const struct latent_tables *latent; /* for shapes with latent attention */
    enum rope_layout rope_gguf, rope_hf;
    bool norm_from_one; /* norms multiply by 1 + w: Hugging Face files hold w, GGUF files the sum */
};

/* input_layernorm before attention, post_attention_layernorm before the feed-forward. */
extern const struct tensor_specs decoder_pre_norms;

extern const struct lm_engine decoder_engine;

#endif
