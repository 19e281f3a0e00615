/* glm4.c - GLM-4 of 2025 (dense) and GLM-4.5 and -4.5-Air (routed experts): tables over decoder.c.
 *
 * Half of each head rotates: neighbours together in the dense models, halves in those with experts, alike in both formats.
 * GLM-4     has norms before and after attention and feed-forward, and gate and up in one matrix.
 * GLM-4.5   routes by sigmoids as DeepSeek V3 does, and names its experts as it does, the first layers having one dense network; heads of q
 *           and k are normalised where use_qk_norm says so (GGUF: where the file has the norms). Layers behind the last guess further tokens:
 *           they are passed over. */
#include "lm/decoder.h"
#include "lm/deepseek.h"
#include "lm/hparams.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

/* ---- experts ----------------------------------------------------------------------------------------------------------- */

static void place_experts(struct lm_shape *s, const struct hparam_source *src)
{
    if (src->config)
        s->n_expert = hparams_whole(src, NULL, "n_routed_experts", s->n_expert, 1, ROUTE_EXPERTS);
    const int dense = hparams_whole(src, "leading_dense_block_count", "first_k_dense_replace",
                                    src->gguf ? 0 : 1, 0, LM_MAX_LAYER);
    const int shared =
        hparams_whole(src, "expert_shared_count", "n_shared_experts", src->gguf ? 0 : 1, 0, 64);
    s->n_ff_shared = s->n_ff_expert * shared;
    for (int il = 0; il < s->n_layer; il++) s->layer[il].routed = il >= dense;
}

static void route(struct lm_shape *s, const struct hparam_source *src)
{
    enum { UNSAID = 0, SIGMOID = 2 };
    struct lm_routing *r = &s->routing;
    const int func = hparams_whole(src, "expert_gating_func", NULL, SIGMOID, 0, 100);
    if (src->gguf && func != UNSAID && func != SIGMOID)
        hparams_complain(src->bad, "expert_gating_func %d is not supported in this family (2, sigmoid, is)",
                         func);
    r->kind = ROUTE_SIGMOID;
    r->biased = src->config != NULL; /* a GGUF file has the bias or has none */
    r->group_best = 2;
    r->renorm = src->gguf ? hparams_number(src, "expert_weights_norm", NULL, 0) != 0
                          : hparams_switch(src, "norm_topk_prob", true);
    r->scale = (float)hparams_number(src, "expert_weights_scale", "routed_scaling_factor", 1);
    r->n_group = hparams_whole(src, "expert_group_count", "n_group", 1, 0, ROUTE_GROUPS);
    r->n_group_used = hparams_whole(src, "expert_group_used_count", "topk_group", 1, 0, ROUTE_GROUPS);
    if (r->n_group <= 1) r->n_group = r->n_group_used = 1;
}

static void particular(struct lm_shape *s, const struct hparam_source *src)
{
    s->n_guess_layer = hparams_whole(src, "nextn_predict_layers", "num_nextn_predict_layers",
                                     src->gguf ? 0 : 1, 0, LM_MAX_LAYER);
    if (src->gguf && s->n_guess_layer) { /* block_count has them */
        if (s->n_guess_layer >= s->n_layer)
            hparams_complain(src->bad, "all of %d layers guess further tokens", s->n_layer);
        else
            s->n_layer -= s->n_guess_layer;
    }
    place_experts(s, src);
    route(s, src);
    s->head_norms = !src->gguf && hparams_switch(src, "use_qk_norm", false);
}

static const char *const keys[] = { "n_routed_experts",
                                    "n_shared_experts",
                                    "first_k_dense_replace",
                                    "routed_scaling_factor",
                                    "norm_topk_prob",
                                    "n_group",
                                    "topk_group",
                                    "use_qk_norm",
                                    "num_nextn_predict_layers",
                                    "nextn_predict_layers",
                                    "leading_dense_block_count",
                                    "expert_shared_count",
                                    "expert_gating_func",
                                    "expert_weights_scale",
                                    "expert_weights_norm",
                                    "expert_group_count",
                                    "expert_group_used_count",
                                    NULL };

/* What transformers' Glm4MoeConfig and Glm4Config take where config.json says nothing. */
static const struct hparam_family moe_members[] = {
    { .gguf = "glm4moe",
      .hf = "glm4_moe",
      .absent = { .n_layer = 46,
                  .n_embd = 4096,
                  .n_head = 96,
                  .n_kv_head = 8,
                  .n_ff = 10944,
                  .n_ctx_train = 131072,
                  .n_expert = 128,
                  .n_expert_used = 8,
                  .n_ff_expert = 1408,
                  .eps = 1e-5,
                  .theta = 10000,
                  .part = 0.5 },
      .window = WINDOW_NONE,
      .bias = BIAS_QKV_ASKED,
      .layers = particular,
      .keys = keys },
};
static const struct hparam_family dense_members[] = {
    { .gguf = "glm4",
      .hf = "glm4",
      .absent = { .n_layer = 40,
                  .n_embd = 4096,
                  .n_head = 32,
                  .n_kv_head = 2,
                  .head_dim = 128,
                  .n_ff = 13696,
                  .n_ctx_train = 131072,
                  .eps = 1.5625e-7,
                  .theta = 10000,
                  .part = 0.5 },
      .window = WINDOW_NONE,
      .bias = BIAS_QKV_ASKED,
      .biased = true },
};

/* ---- tensors ----------------------------------------------------------------------------------------------------------- */

/* clang-format off */
#define HF "model.layers.{l}."
#define GG "blk.{l}."
static const struct tensor_spec moe_norms[] = {
    { L_ATTN_NORM, GG "attn_norm.weight",           HF "input_layernorm.weight",          { DIM_EMBD }, TENSOR_NEEDED },
    { L_FFN_NORM,  GG "post_attention_norm.weight", HF "post_attention_layernorm.weight", { DIM_EMBD }, TENSOR_NEEDED },
};
static const struct tensor_spec head_norms[] = {
    { L_Q_NORM, GG "attn_q_norm.weight", HF "self_attn.q_norm.weight", { DIM_HEAD }, TENSOR_OPTIONAL },
    { L_K_NORM, GG "attn_k_norm.weight", HF "self_attn.k_norm.weight", { DIM_HEAD }, TENSOR_OPTIONAL },
};
static const struct tensor_spec dense_norms[] = {
    { L_ATTN_NORM,      GG "attn_norm.weight",           HF "input_layernorm.weight",          { DIM_EMBD }, TENSOR_NEEDED },
    { L_ATTN_POST_NORM, GG "post_attention_norm.weight", HF "post_self_attn_layernorm.weight", { DIM_EMBD }, TENSOR_NEEDED },
    { L_FFN_NORM,       GG "ffn_norm.weight",            HF "post_attention_layernorm.weight", { DIM_EMBD }, TENSOR_NEEDED },
    { L_FFN_POST_NORM,  GG "post_ffw_norm.weight",       HF "post_mlp_layernorm.weight",       { DIM_EMBD }, TENSOR_NEEDED },
};
static const struct tensor_spec joined[] = {
    { L_GATE_UP, GG "ffn_up.weight",   HF "mlp.gate_up_proj.weight", { DIM_2FF, DIM_EMBD }, TENSOR_NEEDED },
    { L_DOWN,    GG "ffn_down.weight", HF "mlp.down_proj.weight",    { DIM_EMBD, DIM_FF },  TENSOR_NEEDED },
};
/* clang-format on */

static const struct tensor_specs moe_norm_specs = { moe_norms, COUNT(moe_norms) };
static const struct tensor_specs dense_norm_specs = { dense_norms, COUNT(dense_norms) };
static const struct tensor_specs joined_specs = { joined, COUNT(joined) };
static const struct decoder_family moe_tables = {
    .norms = &moe_norm_specs,
    .layer = { head_norms, COUNT(head_norms) },
    .moe = { deepseek_moe, DEEPSEEK_MOE },
    .expert = { deepseek_expert, DEEPSEEK_EXPERT },
    .rope_gguf = ROPE_HALF,
    .rope_hf = ROPE_HALF,
};
static const struct decoder_family dense_tables = {
    .norms = &dense_norm_specs,
    .dense = &joined_specs,
    .rope_gguf = ROPE_INTERLEAVED,
    .rope_hf = ROPE_INTERLEAVED,
};

const struct lm_arch lm_glm4_moe = { .name = "glm4_moe",
                                     .member = moe_members,
                                     .n_members = COUNT(moe_members),
                                     .engine = &decoder_engine,
                                     .decoder = &moe_tables };
const struct lm_arch lm_glm4 = { .name = "glm4",
                                 .member = dense_members,
                                 .n_members = COUNT(dense_members),
                                 .engine = &decoder_engine,
                                 .decoder = &dense_tables };
