/* llama.c - Llama 1 to 3, SmolLM2, Mistral and Ministral (dense), Mixtral (routed experts): tables over decoder.c.
 *
 * GGUF files store q and k permuted so that rotary pairs stand side by side; Hugging Face files rotate halves. Both give
 * the same logits. GGUF calls Mixtral `llama` with experts. */
#include <math.h>

#include "lm/decoder.h"
#include "lm/hparams.h"
#include "lm/rope_config.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

/* What transformers' LlamaConfig, MistralConfig, MinistralConfig and MixtralConfig take where config.json says nothing (lm_defaults.json). */
static const char *const llama_within[] = { "llava",       "llava_next", "llava_next_video", "vipllava",
                                            "video_llava", "idefics3",   "smolvlm",          "janus",
                                            "deepseek_vl", NULL };
static const char *const mistral_within[] = { "mistral3", NULL };
/* Ministral 3: queries see sharper by the stretches of the original context that lie before them, as in Llama 4, in all layers. The magnitude
 * of yarn is that of mscale over that of mscale_all_dim, which GGUF files name alone. */
static void ministral3(struct lm_shape *s, const struct hparam_source *src)
{
    struct rope_spec *r = &s->rope[0];
    double scale = 0;
    if (src->gguf) {
        const double all = hparams_number(src, "rope.scaling.yarn_log_multiplier", NULL, 0);
        if (r->scaling == ROPE_SCALING_YARN && all != 0 && r->factor > 1)
            r->mscale = rope_yarn_mscale(r->factor) / (0.1 * all * log(r->factor) + 1);
        scale = hparams_number(src, "attention.temperature_scale", NULL, 0);
    } else if (rope_config(src->config)) {
        const json_t *beta = json_object_get(rope_config(src->config), "llama_4_scaling_beta");
        scale = json_is_number(beta) ? json_number_value(beta) : beta && !json_is_null(beta) ? NAN : 0;
    } else {
        hparams_complain(src->bad, "rope_parameters is missing");
    }
    if (!(scale >= 0 && scale < 100))
        hparams_complain(src->bad, "the temperature of attention grows by %g", scale);
    if (!(scale > 0)) return;
    s->temper = (struct lm_temper){ .scale = (float)scale, .every = (float)r->n_ctx_orig, .from_zero = true };
    for (int il = 0; il < s->n_layer; il++) s->layer[il].tempered = true;
}

static const char *const ministral3_keys[] = { "llama_4_scaling_beta", "max_position_embeddings",
                                               "attention.temperature_scale",
                                               "rope.scaling.yarn_log_multiplier", NULL };
static const struct hparam_family members[] = {
    { .gguf = "llama",
      .hf = "llama",
      .within = llama_within,
      .absent = { .n_layer = 32,
                  .n_embd = 4096,
                  .n_head = 32,
                  .n_ff = 11008,
                  .n_ctx_train = 2048,
                  .eps = 1e-6,
                  .theta = 10000 },
      .window = WINDOW_NONE,
      .bias = BIAS_ATTENTION_MLP,
      .renorm = true },
    { .hf = "mistral",
      .within = mistral_within,
      .absent = { .n_layer = 32,
                  .n_embd = 4096,
                  .n_head = 32,
                  .n_kv_head = 8,
                  .n_ff = 14336,
                  .n_ctx_train = 131072,
                  .window = 4096,
                  .eps = 1e-6,
                  .theta = 10000 },
      .window = WINDOW_ALL,
      .bias = BIAS_NONE,
      .renorm = true },
    { .hf = "ministral",
      .absent = { .n_layer = 32,
                  .n_embd = 4096,
                  .n_head = 32,
                  .n_kv_head = 8,
                  .n_ff = 14336,
                  .n_ctx_train = 131072,
                  .window = 4096,
                  .eps = 1e-6,
                  .theta = 10000 },
      .window = WINDOW_LISTED,
      .bias = BIAS_NONE,
      .renorm = true },
    { .gguf = "mistral3",
      .hf = "ministral3",
      .absent = { .n_layer = 34,
                  .n_embd = 4096,
                  .n_head = 32,
                  .n_kv_head = 8,
                  .head_dim = 128,
                  .n_ff = 14336,
                  .n_ctx_train = 262144,
                  .eps = 1e-5,
                  .theta = 1000000 },
      .window = WINDOW_ALL,
      .bias = BIAS_NONE,
      .layers = ministral3,
      .keys = ministral3_keys },
    { .hf = "mixtral",
      .absent = { .n_layer = 32,
                  .n_embd = 4096,
                  .n_head = 32,
                  .n_kv_head = 8,
                  .n_ff = 14336,
                  .n_ctx_train = 131072,
                  .n_expert = 8,
                  .n_expert_used = 2,
                  .eps = 1e-5,
                  .theta = 1000000 },
      .window = WINDOW_ALL,
      .bias = BIAS_NONE,
      .renorm = true },
};

/* clang-format off */
#define HF "model.layers.{l}."
#define GG "blk.{l}."
#define MOE HF "block_sparse_moe."
static const struct tensor_spec moe[] = {
    { L_ROUTER,       GG "ffn_gate_inp.weight",     MOE "gate.weight",         { DIM_EXPERT, DIM_EMBD }, TENSOR_OPTIONAL },
    { L_ROUTER,       NULL,                         HF "mlp.gate.weight",      { DIM_EXPERT, DIM_EMBD }, TENSOR_OPTIONAL },
    { L_GATE_EXPS,    GG "ffn_gate_exps.weight",    NULL, { DIM_EXPERT, DIM_FF_EXPERT, DIM_EMBD },       TENSOR_OPTIONAL },
    { L_UP_EXPS,      GG "ffn_up_exps.weight",      NULL, { DIM_EXPERT, DIM_FF_EXPERT, DIM_EMBD },       TENSOR_OPTIONAL },
    { L_GATE_UP_EXPS, GG "ffn_gate_up_exps.weight", HF "mlp.experts.gate_up_proj",
                                                          { DIM_EXPERT, DIM_2FF_EXPERT, DIM_EMBD },      TENSOR_OPTIONAL },
    { L_DOWN_EXPS,    GG "ffn_down_exps.weight",    HF "mlp.experts.down_proj",
                                                          { DIM_EXPERT, DIM_EMBD, DIM_FF_EXPERT },       TENSOR_OPTIONAL },
};

/* w1 is gate, w3 up, w2 down. */
static const struct tensor_spec expert[] = {
    { E_GATE, GG "ffn_gate.{e}.weight", MOE "experts.{e}.w1.weight", { DIM_FF_EXPERT, DIM_EMBD }, TENSOR_NEEDED },
    { E_UP,   GG "ffn_up.{e}.weight",   MOE "experts.{e}.w3.weight", { DIM_FF_EXPERT, DIM_EMBD }, TENSOR_NEEDED },
    { E_DOWN, GG "ffn_down.{e}.weight", MOE "experts.{e}.w2.weight", { DIM_EMBD, DIM_FF_EXPERT }, TENSOR_NEEDED },
};
/* clang-format on */

static const struct decoder_family tables = {
    .norms = &decoder_pre_norms,
    .moe = { moe, COUNT(moe) },
    .expert = { expert, COUNT(expert) },
    .rope_gguf = ROPE_INTERLEAVED,
    .rope_hf = ROPE_HALF,
};

const struct lm_arch lm_llama = { .name = "llama",
                                  .member = members,
                                  .n_members = COUNT(members),
                                  .engine = &decoder_engine,
                                  .decoder = &tables };
