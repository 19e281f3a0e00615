/* phi3.c - Phi 3, 3.5 and 4 (dense): Llama with q, k and v in one matrix and gate and up in another, tables over decoder.c.
 *
 * Files keep these joined in both formats, rows of q, k, v and of gate, up after each other; some GGUF files have q, k and v apart. Pairs
 * of rotated channels are halves in both. The models for long texts turn by lists of divisors (rope_freq.h, "longrope"), Phi-4-mini
 * three quarters of a head. */
#include "lm/decoder.h"
#include "lm/hparams.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

/* What transformers' Phi3Config takes where config.json says nothing. */
static const struct hparam_family members[] = {
    { .gguf = "phi3",
      .hf = "phi3",
      .absent = { .n_layer = 32,
                  .n_embd = 3072,
                  .n_head = 32,
                  .n_ff = 8192,
                  .n_ctx_train = 4096,
                  .eps = 1e-5,
                  .theta = 10000,
                  .part = 1 },
      .window = WINDOW_ALL,
      .bias = BIAS_NONE },
};

/* clang-format off */
#define HF "model.layers.{l}."
#define GG "blk.{l}."
static const struct tensor_spec attention[] = {
    { L_QKV, GG "attn_qkv.weight",    HF "self_attn.qkv_proj.weight", { DIM_QKV, DIM_EMBD }, TENSOR_OPTIONAL },
    { L_Q,   GG "attn_q.weight",      NULL,                           { DIM_Q, DIM_EMBD },   TENSOR_OPTIONAL },
    { L_K,   GG "attn_k.weight",      NULL,                           { DIM_KV, DIM_EMBD },  TENSOR_OPTIONAL },
    { L_V,   GG "attn_v.weight",      NULL,                           { DIM_KV, DIM_EMBD },  TENSOR_OPTIONAL },
    { L_OUT, GG "attn_output.weight", HF "self_attn.o_proj.weight",   { DIM_EMBD, DIM_Q },   TENSOR_NEEDED },
};
static const struct tensor_spec dense[] = {
    { L_GATE_UP, GG "ffn_up.weight",   HF "mlp.gate_up_proj.weight", { DIM_2FF, DIM_EMBD }, TENSOR_NEEDED },
    { L_DOWN,    GG "ffn_down.weight", HF "mlp.down_proj.weight",    { DIM_EMBD, DIM_FF },  TENSOR_NEEDED },
};
/* clang-format on */

static const struct tensor_specs attention_specs = { attention, COUNT(attention) };
static const struct tensor_specs dense_specs = { dense, COUNT(dense) };
static const struct decoder_family tables = {
    .norms = &decoder_pre_norms,
    .attention = &attention_specs,
    .dense = &dense_specs,
    .rope_gguf = ROPE_HALF,
    .rope_hf = ROPE_HALF,
};

const struct lm_arch lm_phi3 = { .name = "phi3",
                                 .member = members,
                                 .n_members = COUNT(members),
                                 .engine = &decoder_engine,
                                 .decoder = &tables };
