/* deepseek.c - DeepSeek V3 and R1, and V2 and V2-Lite before them: tables over decoder.c, with latent attention (mla.h).
 *
 * Attention  q.k is scaled by the whole head's width, nope + rope channels, and under yarn by the square of a magnitude
 *            m = 0.1 mscale_all_dim ln(factor) + 1; cos and sin are then multiplied by m(mscale) / m(mscale_all_dim), which is 1 in all
 *            published models. Neighbouring channels turn together in both formats.
 * Experts    the first layers have none. V3 chooses by sigmoids plus a bias among the groups that have the two best experts, and weighs by
 *            the sigmoids, which are made to sum to one and then scaled; V2 by a softmax, among the groups that have the best expert, and
 *            V2-Lite among all. The shared experts are one network, as wide as they are together.
 * Layers     behind the last one guess further tokens (multi-token prediction): they are passed over.
 * GGUF       keeps k and v of the latents in one matrix (older files; then head_count_kv is head_count, and key_length and value_length
 *            are a head's) or apart (then key_length_mla and value_length_mla are). Files from before expert_gating_func are V2's, and
 *            V3's from before expert_group_count have its groups all the same. */
#include "lm/deepseek.h"

#include <math.h>
#include <string.h>

#include "lm/decoder.h"
#include "lm/hparams.h"
#include "lm/rope_config.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

/* A whole number of min..max under its key; `absent` and a fault where it is none. */
static int whole(const struct hparam_source *src, const char *gguf, const char *hf, int absent, int min,
                 int max)
{
    const double x = hparams_number(src, gguf, hf, absent);
    if (x >= min && x <= max && x == floor(x)) return (int)x;
    hparams_complain(src->bad, "%s is no whole number from %d to %d", src->gguf ? gguf : hf, min, max);
    return min > absent ? min : absent;
}

static bool is_null(const struct hparam_source *src, const char *hf)
{
    return json_is_null(json_object_get(src->config, hf));
}

static bool v3(const struct lm_shape *s) { return s->routing.kind == ROUTE_SIGMOID; }

/* ---- experts --------------------------------------------------------------------------------------------------------- */

/* What only this may be, where config.json says it. */
static void only(const struct hparam_source *src, const char *key, const char *may, const char * or)
{
    const json_t *v = json_object_get(src->config, key);
    const char *is = json_string_value(v);
    if (!v || json_is_null(v) || (is && (strcmp(is, may) == 0 || (or &&strcmp(is, or) == 0)))) return;
    hparams_complain(src->bad, "%s '%.40s' is not supported in this family (%s%s%s)", key,
                     is ? is : "(not a string)", may, or ? ", " : "", or ? or : "");
}

static bool grouped_by_name(const struct hparam_source *src)
{
    const char *method = json_string_value(json_object_get(src->config, "topk_method"));
    return method && strcmp(method, "group_limited_greedy") == 0;
}

static void routing_of_config(struct lm_shape *s, const struct hparam_source *src)
{
    struct lm_routing *r = &s->routing;
    const json_t *type = json_object_get(src->config, "model_type");
    const bool old = json_is_string(type) && strcmp(json_string_value(type), "deepseek_v2") == 0;
    const json_t *renorm = json_object_get(src->config, "norm_topk_prob");
    r->kind = old ? ROUTE_SOFTMAX : ROUTE_SIGMOID;
    r->biased = !old;
    r->group_best = old ? 1 : 2;
    r->renorm = !old && (!renorm || json_is_true(renorm));
    /* The publisher's code divides by the sum and then does not scale, transformers passes over the key. */
    if (old && json_is_true(renorm))
        hparams_complain(src->bad, "norm_topk_prob is not supported in deepseek_v2");
    only(src, "scoring_func", old ? "softmax" : "sigmoid", NULL);
    only(src, "topk_method", old ? "greedy" : "noaux_tc", old ? "group_limited_greedy" : NULL);
    r->scale = (float)hparams_number(src, NULL, "routed_scaling_factor", old ? 1 : 2.5);
    r->n_group = old && !grouped_by_name(src) ? 1 : whole(src, NULL, "n_group", old ? 1 : 8, 1, ROUTE_GROUPS);
    r->n_group_used = r->n_group > 1 ? whole(src, NULL, "topk_group", old ? 1 : 4, 1, ROUTE_GROUPS) : 1;
    if (is_null(src, "n_group")) r->n_group = r->n_group_used = 1;
}

static void routing_of_gguf(struct lm_shape *s, const struct hparam_source *src)
{
    enum { SOFTMAX = 1, SIGMOID = 2, LAYERS_V3 = 61, EXPERTS_V3 = 256 };
    struct lm_routing *r = &s->routing;
    const int func = whole(src, "expert_gating_func", NULL, SOFTMAX, 0, 100);
    if (func > SIGMOID)
        hparams_complain(src->bad, "expert_gating_func %d is not supported (1, softmax, and 2, sigmoid, are)",
                         func);
    r->kind = func == SIGMOID ? ROUTE_SIGMOID : ROUTE_SOFTMAX;
    r->biased = func == SIGMOID;
    r->group_best = func == SIGMOID ? 2 : 1;
    const bool large = v3(s) && s->n_layer == LAYERS_V3 && s->n_expert == EXPERTS_V3;
    r->n_group = whole(src, "expert_group_count", NULL, large ? 8 : 1, 0, ROUTE_GROUPS);
    r->n_group_used = whole(src, "expert_group_used_count", NULL, large ? 4 : 1, 0, ROUTE_GROUPS);
    if (r->n_group <= 1) r->n_group = r->n_group_used = 1;
    r->renorm = hparams_number(src, "expert_weights_norm", NULL, 0) != 0;
    r->scale = (float)hparams_number(src, "expert_weights_scale", NULL, 1);
    if (r->scale == 0) r->scale = 1; /* as llama.cpp takes it */
}

static void place_experts(struct lm_shape *s, const struct hparam_source *src)
{
    const json_t *type = json_object_get(src->config, "model_type");
    const bool old = json_is_string(type) && strcmp(json_string_value(type), "deepseek_v2") == 0;
    if (src->config) s->n_expert = whole(src, NULL, "n_routed_experts", s->n_expert, 0, ROUTE_EXPERTS);
    const int dense = whole(src, "leading_dense_block_count", "first_k_dense_replace",
                            src->gguf || old ? 0 : 3, 0, LM_MAX_LAYER);
    const int shared = whole(src, "expert_shared_count", "n_shared_experts",
                             src->gguf ? 0
                             : old     ? 2
                                       : 1,
                             0, 64);
    s->n_ff_shared = s->n_expert ? s->n_ff_expert * shared : 0;
    for (int il = 0; il < s->n_layer; il++) s->layer[il].routed = s->n_expert > 0 && il >= dense;
    if (hparams_number(src, NULL, "moe_layer_freq", 1) != 1)
        hparams_complain(src->bad, "moe_layer_freq other than 1 is not supported");
    if (src->gguf)
        routing_of_gguf(s, src);
    else
        routing_of_config(s, src);
}

/* ---- attention --------------------------------------------------------------------------------------------------------- */

/* What yarn multiplies q.k by, twice. */
static double magnitude(const struct lm_shape *s, const struct hparam_source *src)
{
    const struct rope_spec *r = &s->rope[0];
    double all = 0;
    if (r->scaling == ROPE_SCALING_NONE || r->factor <= 1) return 1;
    if (src->gguf) { /* the converter's number is a tenth of it */
        all = hparams_number(src, "rope.scaling.yarn_log_multiplier", NULL, 0) / 0.1;
    } else {
        const json_t *v = json_object_get(rope_config(src->config), "mscale_all_dim");
        all = json_is_number(v) ? json_number_value(v) : 0;
    }
    return all == 0 ? 1 : 0.1 * all * log(r->factor) + 1;
}

static void widths_of_gguf(struct lm_shape *s, const struct hparam_source *src)
{
    enum { MOST = 1 << 12 };
    struct lm_latent *l = &s->latent;
    const int key = whole(src, "attention.key_length", NULL, s->head_dim, 1, 1 << 14);
    const int value = whole(src, "attention.value_length", NULL, key, 1, 1 << 14);
    l->q_rank = whole(src, "attention.q_lora_rank", NULL, 0, 0, 1 << 16);
    l->kv_rank = whole(src, "attention.kv_lora_rank", NULL, 0, 1, 1 << 13);
    l->rope = whole(src, "rope.dimension_count", NULL, 0, 2, MOST);
    l->nope = whole(src, "attention.key_length_mla", NULL, key, 1, MOST) - l->rope;
    l->v = whole(src, "attention.value_length_mla", NULL, value, 1, MOST);
    if (l->nope < 1)
        hparams_complain(src->bad, "keys of %d channels, of which %d rotate", l->nope + l->rope, l->rope);
}

static void widths_of_config(struct lm_shape *s, const struct hparam_source *src)
{
    enum { MOST = 1 << 12 };
    struct lm_latent *l = &s->latent;
    l->q_rank = is_null(src, "q_lora_rank") ? 0 : whole(src, NULL, "q_lora_rank", 1536, 0, 1 << 16);
    l->kv_rank = whole(src, NULL, "kv_lora_rank", 512, 1, 1 << 13);
    l->rope = whole(src, NULL, "qk_rope_head_dim", 64, 2, MOST);
    l->nope = whole(src, NULL, "qk_nope_head_dim", 128, 1, MOST);
    l->v = whole(src, NULL, "v_head_dim", 128, 1, MOST);
    static const char *const biases[] = { "attention_bias", "mlp_bias" };
    for (int i = 0; i < COUNT(biases); i++)
        if (json_is_true(json_object_get(src->config, biases[i])))
            hparams_complain(src->bad, "%s is not supported in this family", biases[i]);
    if (json_is_false(json_object_get(src->config, "rope_interleave")))
        hparams_complain(src->bad, "rope_interleave false is not supported");
}

static void particular(struct lm_shape *s, const struct hparam_source *src)
{
    struct lm_latent *l = &s->latent;
    if (src->gguf)
        widths_of_gguf(s, src);
    else
        widths_of_config(s, src);
    s->n_guess_layer = src->gguf ? whole(src, "nextn_predict_layers", NULL, 0, 0, LM_MAX_LAYER)
                                 : whole(src, NULL, "num_nextn_predict_layers", 0, 0, LM_MAX_LAYER);
    if (src->gguf && s->n_guess_layer) { /* block_count has them */
        if (s->n_guess_layer >= s->n_layer)
            hparams_complain(src->bad, "all of %d layers guess further tokens", s->n_layer);
        else
            s->n_layer -= s->n_guess_layer;
    }
    place_experts(s, src);
    s->head_dim = l->nope + l->rope;
    s->rope[0].n_rot = l->rope;
    const double m = magnitude(s, src);
    if (src->gguf && m != 1) s->rope[0].mscale = 1; /* cos and sin: the ratio of two equal magnitudes */
    for (int il = 0; il < s->n_layer; il++) s->layer[il].attn_scale = (float)(m * m / sqrt(s->head_dim));
    s->n_kv_head = 1;
    s->k_dim = l->kv_rank + l->rope;
    s->v_dim = l->kv_rank;
    s->v_in_k = true;
}

static const char *const keys[] = {
    "n_routed_experts", "n_shared_experts", "routed_scaling_factor", "kv_lora_rank", "q_lora_rank",
    "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "n_group", "topk_group", "first_k_dense_replace",
    "moe_layer_freq", "topk_method", "scoring_func", "num_nextn_predict_layers", "norm_topk_prob",
    "attention_bias", "mlp_bias", "rope_interleave",
    /* says again what others say */
    "qk_head_dim",
    /* how it was trained */
    "ep_size", "aux_loss_alpha", "seq_aux", "attention.q_lora_rank", "attention.kv_lora_rank",
    "attention.key_length_mla", "attention.value_length_mla", "leading_dense_block_count",
    "expert_shared_count", "expert_weights_scale", "expert_weights_norm", "expert_gating_func",
    "expert_group_count", "expert_group_used_count", "rope.scaling.yarn_log_multiplier",
    "nextn_predict_layers", NULL
};

/* What transformers' DeepseekV3Config and DeepseekV2Config take where config.json says nothing. */
static const struct hparam_family members[] = {
    { .gguf = "deepseek2",
      .hf = "deepseek_v3",
      .absent = { .n_layer = 61,
                  .n_embd = 7168,
                  .n_head = 128,
                  .n_ff = 18432,
                  .n_ctx_train = 4096,
                  .n_expert = 256,
                  .n_expert_used = 8,
                  .n_ff_expert = 2048,
                  .eps = 1e-6,
                  .theta = 10000 },
      .window = WINDOW_NONE,
      .bias = BIAS_NONE,
      .layers = particular,
      .own_values = true,
      .keys = keys },
    { .hf = "deepseek_v2",
      .absent = { .n_layer = 32,
                  .n_embd = 4096,
                  .n_head = 32,
                  .n_ff = 11008,
                  .n_ctx_train = 2048,
                  .n_expert = 64,
                  .n_ff_expert = 1407,
                  .eps = 1e-6,
                  .theta = 10000 },
      .window = WINDOW_NONE,
      .bias = BIAS_NONE,
      .layers = particular,
      .own_values = true,
      .keys = keys },
};

/* ---- tensors --------------------------------------------------------------------------------------------------------------- */

/* clang-format off */
#define HF "model.layers.{l}."
#define ATT HF "self_attn."
#define MLP HF "mlp."
#define GG "blk.{l}."
static const struct tensor_spec all[] = {
    { L_KV_A,      GG "attn_kv_a_mqa.weight",  ATT "kv_a_proj_with_mqa.weight", { DIM_KV_A, DIM_EMBD }, TENSOR_NEEDED },
    { L_KV_A_NORM, GG "attn_kv_a_norm.weight", ATT "kv_a_layernorm.weight",     { DIM_KV_RANK },        TENSOR_NEEDED },
    { L_OUT,       GG "attn_output.weight",    ATT "o_proj.weight",             { DIM_EMBD, DIM_ATT },  TENSOR_NEEDED },
};
static const struct tensor_spec one_step[] = {
    { L_Q,         GG "attn_q.weight",         ATT "q_proj.weight",             { DIM_Q, DIM_EMBD },      TENSOR_NEEDED },
};
static const struct tensor_spec two_steps[] = {
    { L_Q_A,       GG "attn_q_a.weight",       ATT "q_a_proj.weight",           { DIM_Q_RANK, DIM_EMBD }, TENSOR_NEEDED },
    { L_Q_A_NORM,  GG "attn_q_a_norm.weight",  ATT "q_a_layernorm.weight",      { DIM_Q_RANK },           TENSOR_NEEDED },
    { L_Q,         GG "attn_q_b.weight",       ATT "q_b_proj.weight",           { DIM_Q, DIM_Q_RANK },    TENSOR_NEEDED },
};
static const struct tensor_spec joined[] = {
    { L_KV_B,      GG "attn_kv_b.weight",      ATT "kv_b_proj.weight", { DIM_KV_B, DIM_KV_RANK },            TENSOR_OPTIONAL },
};
static const struct tensor_spec apart[] = {
    { L_K_B,       GG "attn_k_b.weight",       NULL,                   { DIM_HEADS, DIM_KV_RANK, DIM_NOPE }, TENSOR_NEEDED },
    { L_V_B,       GG "attn_v_b.weight",       NULL,                   { DIM_HEADS, DIM_V, DIM_KV_RANK },    TENSOR_NEEDED },
};

const struct tensor_spec deepseek_moe[DEEPSEEK_MOE] = {
    { L_ROUTER,       GG "ffn_gate_inp.weight",     MLP "gate.weight",          { DIM_EXPERT, DIM_EMBD }, TENSOR_OPTIONAL },
    { L_ROUTER_BIAS,  GG "exp_probs_b.bias",        MLP "gate.e_score_correction_bias", { DIM_EXPERT },   TENSOR_OPTIONAL },
    { L_ROUTER_BIAS,  GG "exp_probs_b",             NULL,                               { DIM_EXPERT },   TENSOR_OPTIONAL },
    { L_GATE_EXPS,    GG "ffn_gate_exps.weight",    NULL, { DIM_EXPERT, DIM_FF_EXPERT, DIM_EMBD },        TENSOR_OPTIONAL },
    { L_UP_EXPS,      GG "ffn_up_exps.weight",      NULL, { DIM_EXPERT, DIM_FF_EXPERT, DIM_EMBD },        TENSOR_OPTIONAL },
    { L_GATE_UP_EXPS, GG "ffn_gate_up_exps.weight", MLP "experts.gate_up_proj",
                                                          { DIM_EXPERT, DIM_2FF_EXPERT, DIM_EMBD },       TENSOR_OPTIONAL },
    { L_DOWN_EXPS,    GG "ffn_down_exps.weight",    MLP "experts.down_proj",
                                                          { DIM_EXPERT, DIM_EMBD, DIM_FF_EXPERT },        TENSOR_OPTIONAL },
    { L_SHARED_GATE,  GG "ffn_gate_shexp.weight",   MLP "shared_experts.gate_proj.weight",
                                                          { DIM_FF_SHARED, DIM_EMBD },                    TENSOR_OPTIONAL },
    { L_SHARED_UP,    GG "ffn_up_shexp.weight",     MLP "shared_experts.up_proj.weight",
                                                          { DIM_FF_SHARED, DIM_EMBD },                    TENSOR_OPTIONAL },
    { L_SHARED_DOWN,  GG "ffn_down_shexp.weight",   MLP "shared_experts.down_proj.weight",
                                                          { DIM_EMBD, DIM_FF_SHARED },                    TENSOR_OPTIONAL },
};

#define EXPERT MLP "experts.{e}."
const struct tensor_spec deepseek_expert[DEEPSEEK_EXPERT] = {
    { E_GATE, GG "ffn_gate.{e}.weight", EXPERT "gate_proj.weight", { DIM_FF_EXPERT, DIM_EMBD }, TENSOR_NEEDED },
    { E_UP,   GG "ffn_up.{e}.weight",   EXPERT "up_proj.weight",   { DIM_FF_EXPERT, DIM_EMBD }, TENSOR_NEEDED },
    { E_DOWN, GG "ffn_down.{e}.weight", EXPERT "down_proj.weight", { DIM_EMBD, DIM_FF_EXPERT }, TENSOR_NEEDED },
};
/* clang-format on */

static const struct latent_tables latent = { .all = { all, COUNT(all) },
                                             .q = { one_step, COUNT(one_step) },
                                             .q_two = { two_steps, COUNT(two_steps) },
                                             .joined = { joined, COUNT(joined) },
                                             .apart = { apart, COUNT(apart) } };
static const struct decoder_family tables = {
    .norms = &decoder_pre_norms,
    .moe = { deepseek_moe, DEEPSEEK_MOE },
    .expert = { deepseek_expert, DEEPSEEK_EXPERT },
    .latent = &latent,
    .rope_gguf = ROPE_INTERLEAVED,
    .rope_hf = ROPE_INTERLEAVED,
};

const struct lm_arch lm_deepseek = { .name = "deepseek",
                                     .member = members,
                                     .n_members = COUNT(members),
                                     .engine = &decoder_engine,
                                     .decoder = &tables };
