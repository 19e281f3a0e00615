/* gemma3.c - Gemma 3, the text models and the text half of those that see: tables over decoder.c.
 *
 * Every sixth layer sees all positions, the others a window; the two kinds turn by rotary embeddings of their own, of which that of the
 * full layers alone is scaled in the larger models. Norms stand before and after attention and feed-forward, and over heads of q and k.
 * The embedding is multiplied by sqrt(n_embd), in f32 whatever the file's type, as transformers does in f32 and llama.cpp always.
 * Hugging Face files hold w of norms by 1 + w; the converter to GGUF has added the one. */
#include <math.h>

#include "lm/decoder.h"
#include "lm/hparams.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

/* q.k is scaled by query_pre_attn_scalar, which GGUF files do not have: llama.cpp takes the head's width, but in the model of 27 billion, the
 * one with 62 layers, n_embd / n_head. */
static double attn_scalar(const struct lm_shape *s, const struct hparam_source *src)
{
    enum { LAYERS_27B = 62 };
    if (!src->gguf) return hparams_number(src, NULL, "query_pre_attn_scalar", 256);
    return s->n_layer == LAYERS_27B ? s->n_embd / s->n_head : s->head_dim;
}

static void particular(struct lm_shape *s, const struct hparam_source *src)
{
    static const char *const caps[] = { "attn_logit_softcapping", "final_logit_softcapping" };
    const double scalar = attn_scalar(s, src);
    for (int il = 0; il < s->n_layer; il++) s->layer[il].attn_scale = (float)(1 / sqrt(scalar));
    s->embd_scale = sqrtf((float)s->n_embd);
    for (int i = 0; i < COUNT(caps); i++)
        if (hparams_number(src, caps[i], caps[i], 0) != 0)
            hparams_complain(src->bad, "%s is not supported", caps[i]);
    if (json_is_true(json_object_get(src->config, "use_bidirectional_attention")))
        hparams_complain(src->bad,
                         "use_bidirectional_attention is not supported: every token sees those before it");
}

static const char *const keys[] = { "query_pre_attn_scalar", "attn_logit_softcapping",
                                    "final_logit_softcapping", "use_bidirectional_attention", NULL };
static const char *const within[] = { "gemma3", "shieldgemma2", NULL };

/* What transformers' Gemma3TextConfig and llama.cpp take where the file says nothing. */
static const struct hparam_family members[] = {
    { .gguf = "gemma3",
      .hf = "gemma3_text",
      .within = within,
      .absent = { .n_layer = 26,
                  .n_embd = 2304,
                  .n_head = 8,
                  .n_kv_head = 4,
                  .head_dim = 256,
                  .n_ff = 9216,
                  .n_ctx_train = 131072,
                  .window = 4096,
                  .window_pattern = 6,
                  .eps = 1e-6,
                  .theta = 1000000,
                  .theta_local = 10000 },
      .absent_gguf = { .window_pattern = 6, .theta_local = 10000 },
      .window = WINDOW_PATTERN,
      .bias = BIAS_ATTENTION,
      .act_key = "hidden_activation",
      .act = ACT_GELU_TANH,
      .tied = true,
      .layers = particular,
      .keys = keys },
};

/* clang-format off */
#define HF "model.layers.{l}."
#define GG "blk.{l}."
static const struct tensor_spec norms[] = {
    { L_ATTN_NORM,      GG "attn_norm.weight",           HF "input_layernorm.weight",            { DIM_EMBD }, TENSOR_NEEDED },
    { L_ATTN_POST_NORM, GG "post_attention_norm.weight", HF "post_attention_layernorm.weight",   { DIM_EMBD }, TENSOR_NEEDED },
    { L_FFN_NORM,       GG "ffn_norm.weight",            HF "pre_feedforward_layernorm.weight",  { DIM_EMBD }, TENSOR_NEEDED },
    { L_FFN_POST_NORM,  GG "post_ffw_norm.weight",       HF "post_feedforward_layernorm.weight", { DIM_EMBD }, TENSOR_NEEDED },
};
static const struct tensor_spec head_norms[] = {
    { L_Q_NORM, GG "attn_q_norm.weight", HF "self_attn.q_norm.weight", { DIM_HEAD }, TENSOR_NEEDED },
    { L_K_NORM, GG "attn_k_norm.weight", HF "self_attn.k_norm.weight", { DIM_HEAD }, TENSOR_NEEDED },
};
/* clang-format on */

static const struct tensor_specs norm_specs = { norms, COUNT(norms) };
static const struct decoder_family tables = {
    .norms = &norm_specs,
    .layer = { head_norms, COUNT(head_norms) },
    .rope_gguf = ROPE_HALF,
    .rope_hf = ROPE_HALF,
    .norm_from_one = true,
};

const struct lm_arch lm_gemma3 = { .name = "gemma3",
                                   .member = members,
                                   .n_members = COUNT(members),
                                   .engine = &decoder_engine,
                                   .decoder = &tables };
