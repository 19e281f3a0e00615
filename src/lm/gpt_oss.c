/* gpt_oss.c - gpt-oss: routed experts with biases and clipped gates, attention with sinks; tables over decoder.c.
 *
 * Attention  every other layer sees a window, the first among them; each head sees one score more than there are tokens, its sink, whose
 *            value is nothing. q, k, v and the output have biases. Halves rotate, under yarn whose correction range is not rounded: GGUF
 *            files have no key for that.
 * Experts    a softmax over the logits of the chosen. The gate is clipped from above, the other half from both sides (EPI_CLIPGLU).
 *            Hugging Face files stack them [expert, in, out] with columns of gate and up taking turns; GGUF has gate and up apart. */
#include "lm/decoder.h"
#include "lm/hparams.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

/* A number that the activation has built in. */
static void only(const struct hparam_source *src, const char *key, double is)
{
    const double x = hparams_number(src, NULL, key, is);
    if (!(x > is - 1e-6 && x < is + 1e-6))
        hparams_complain(src->bad, "%s %g is not supported (%g is)", key, x, is);
}

static void particular(struct lm_shape *s, const struct hparam_source *src)
{
    only(src, "swiglu_limit", 7);
    only(src, "swiglu_alpha", 1.702);
    if (s->n_expert < 1) hparams_complain(src->bad, "experts are missing");
    s->act = ACT_CLIPPED;
    s->routing.renorm = true; /* a softmax over the chosen is that over all, made to sum to one */
    if (src->gguf) s->rope[0].yarn_exact = true;
}

static const char *const keys[] = { "swiglu_limit", "swiglu_alpha", "experts_per_token",
                                    "initial_context_length", NULL };

/* What transformers' GptOssConfig takes where config.json says nothing. */
static const struct hparam_family members[] = {
    { .gguf = "gpt-oss",
      .hf = "gpt_oss",
      .absent = { .n_layer = 36,
                  .n_embd = 2880,
                  .n_head = 64,
                  .n_kv_head = 8,
                  .head_dim = 64,
                  .n_ff = 2880,
                  .n_ctx_train = 131072,
                  .n_expert = 128,
                  .n_expert_used = 4,
                  .window = 128,
                  .window_pattern = 2,
                  .eps = 1e-5,
                  .theta = 150000 },
      .absent_gguf = { .window = 128, .window_pattern = 2 },
      .window = WINDOW_PATTERN,
      .bias = BIAS_ATTENTION,
      .biased = true,
      .renorm = true,
      .layers = particular,
      .keys = keys },
};

/* clang-format off */
#define HF "model.layers.{l}."
#define MLP HF "mlp."
#define GG "blk.{l}."
static const struct tensor_spec norms[] = {
    { L_ATTN_NORM, GG "attn_norm.weight",           HF "input_layernorm.weight",          { DIM_EMBD }, TENSOR_NEEDED },
    { L_FFN_NORM,  GG "post_attention_norm.weight", HF "post_attention_layernorm.weight", { DIM_EMBD }, TENSOR_NEEDED },
};
static const struct tensor_spec sinks[] = {
    { L_SINK, GG "attn_sinks.weight", HF "self_attn.sinks", { DIM_HEADS }, TENSOR_NEEDED },
};
static const struct tensor_spec moe[] = {
    { L_ROUTER,            GG "ffn_gate_inp.weight",  MLP "router.weight", { DIM_EXPERT, DIM_EMBD },       TENSOR_OPTIONAL },
    { L_ROUTER_ADD,        GG "ffn_gate_inp.bias",    MLP "router.bias",   { DIM_EXPERT },                 TENSOR_NEEDED },
    { L_GATE_EXPS,         GG "ffn_gate_exps.weight", NULL, { DIM_EXPERT, DIM_FF_EXPERT, DIM_EMBD },       TENSOR_OPTIONAL },
    { L_UP_EXPS,           GG "ffn_up_exps.weight",   NULL, { DIM_EXPERT, DIM_FF_EXPERT, DIM_EMBD },       TENSOR_OPTIONAL },
    { L_GATE_EXPS_BIAS,    GG "ffn_gate_exps.bias",   NULL, { DIM_EXPERT, DIM_FF_EXPERT },                 TENSOR_NEEDED },
    { L_UP_EXPS_BIAS,      GG "ffn_up_exps.bias",     NULL, { DIM_EXPERT, DIM_FF_EXPERT },                 TENSOR_NEEDED },
    { L_GATE_UP_EXPS,      NULL, MLP "experts.gate_up_proj", { DIM_EXPERT, DIM_EMBD, DIM_2FF_EXPERT },
                                                                    TENSOR_OPTIONAL | TENSOR_IN_OUT | TENSOR_BY_TURNS },
    { L_GATE_UP_EXPS_BIAS, NULL, MLP "experts.gate_up_proj_bias", { DIM_EXPERT, DIM_2FF_EXPERT },          TENSOR_NEEDED },
    { L_DOWN_EXPS,         GG "ffn_down_exps.weight", NULL, { DIM_EXPERT, DIM_EMBD, DIM_FF_EXPERT },       TENSOR_OPTIONAL },
    { L_DOWN_EXPS,         NULL, MLP "experts.down_proj",   { DIM_EXPERT, DIM_FF_EXPERT, DIM_EMBD }, TENSOR_OPTIONAL | TENSOR_IN_OUT },
    { L_DOWN_EXPS_BIAS,    GG "ffn_down_exps.bias",   MLP "experts.down_proj_bias", { DIM_EXPERT, DIM_EMBD }, TENSOR_NEEDED },
};
/* clang-format on */

static const struct tensor_specs norm_specs = { norms, COUNT(norms) };
static const struct decoder_family tables = {
    .norms = &norm_specs,
    .layer = { sinks, COUNT(sinks) },
    .moe = { moe, COUNT(moe) },
    .rope_gguf = ROPE_HALF,
    .rope_hf = ROPE_HALF,
};

const struct lm_arch lm_gpt_oss = { .name = "gpt_oss",
                                    .member = members,
                                    .n_members = COUNT(members),
                                    .engine = &decoder_engine,
                                    .decoder = &tables };
