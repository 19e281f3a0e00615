/* qwen3.c - Qwen3 dense and with routed experts, and Qwen2 before it: tables over decoder.c.
 *
 * Qwen3 normalises each head of q and k (a learned RMS norm) before the rotation; Qwen2 has biases on q, k and v instead.
 * Neither is permuted in GGUF files: pairs are halves in both formats. */
#include "lm/decoder.h"
#include "lm/hparams.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

/* What transformers' Qwen2Config, Qwen3Config and Qwen3MoeConfig take where config.json says nothing (lm_defaults.json). */
#define QWEN_ABSENT .n_head = 32, .n_ctx_train = 32768, .window = 4096, .eps = 1e-6, .theta = 10000
static const char *const qwen2_within[] = { "llava_onevision", "internvl", "qwen2_audio",
                                            "audioflamingo3",  "ovis2",    NULL };
static const struct hparam_family qwen2_members[] = {
    { .gguf = "qwen2",
      .hf = "qwen2",
      .within = qwen2_within,
      .absent = { QWEN_ABSENT, .n_layer = 32, .n_embd = 4096, .n_kv_head = 32, .n_ff = 22016 },
      .window = WINDOW_LAYERS,
      .bias = BIAS_QKV },
};
static const struct hparam_family qwen3_members[] = {
    { .gguf = "qwen3",
      .hf = "qwen3",
      .absent = { QWEN_ABSENT, .n_layer = 32, .n_embd = 4096, .n_kv_head = 32, .head_dim = 128,
                  .n_ff = 22016 },
      .window = WINDOW_LAYERS,
      .bias = BIAS_ATTENTION },
    { .gguf = "qwen3moe",
      .hf = "qwen3_moe",
      .absent = { QWEN_ABSENT, .n_layer = 24, .n_embd = 2048, .n_kv_head = 4, .n_ff = 6144, .n_expert = 128,
                  .n_expert_used = 8, .n_ff_expert = 768 },
      .window = WINDOW_SWITCHED,
      .bias = BIAS_ATTENTION,
      .mixed = true },
};

/* clang-format off */
#define HF "model.layers.{l}."
#define GG "blk.{l}."
static const struct tensor_spec head_norms[] = {
    { L_Q_NORM, GG "attn_q_norm.weight", HF "self_attn.q_norm.weight", { DIM_HEAD }, TENSOR_NEEDED },
    { L_K_NORM, GG "attn_k_norm.weight", HF "self_attn.k_norm.weight", { DIM_HEAD }, TENSOR_NEEDED },
};

static const struct tensor_spec moe[] = {
    { L_ROUTER,       GG "ffn_gate_inp.weight",     HF "mlp.gate.weight",    { DIM_EXPERT, DIM_EMBD }, TENSOR_OPTIONAL },
    { L_GATE_EXPS,    GG "ffn_gate_exps.weight",    NULL, { DIM_EXPERT, DIM_FF_EXPERT, DIM_EMBD },     TENSOR_OPTIONAL },
    { L_UP_EXPS,      GG "ffn_up_exps.weight",      NULL, { DIM_EXPERT, DIM_FF_EXPERT, DIM_EMBD },     TENSOR_OPTIONAL },
    { L_GATE_UP_EXPS, GG "ffn_gate_up_exps.weight", HF "mlp.experts.gate_up_proj",
                                                          { DIM_EXPERT, DIM_2FF_EXPERT, DIM_EMBD },    TENSOR_OPTIONAL },
    { L_DOWN_EXPS,    GG "ffn_down_exps.weight",    HF "mlp.experts.down_proj",
                                                          { DIM_EXPERT, DIM_EMBD, DIM_FF_EXPERT },     TENSOR_OPTIONAL },
};

#define EXPERT HF "mlp.experts.{e}."
static const struct tensor_spec expert[] = {
    { E_GATE, GG "ffn_gate.{e}.weight", EXPERT "gate_proj.weight", { DIM_FF_EXPERT, DIM_EMBD }, TENSOR_NEEDED },
    { E_UP,   GG "ffn_up.{e}.weight",   EXPERT "up_proj.weight",   { DIM_FF_EXPERT, DIM_EMBD }, TENSOR_NEEDED },
    { E_DOWN, GG "ffn_down.{e}.weight", EXPERT "down_proj.weight", { DIM_EMBD, DIM_FF_EXPERT }, TENSOR_NEEDED },
};
/* clang-format on */

static const struct decoder_family qwen2_tables = { .norms = &decoder_pre_norms,
                                                    .rope_gguf = ROPE_HALF,
                                                    .rope_hf = ROPE_HALF };
static const struct decoder_family qwen3_tables = {
    .norms = &decoder_pre_norms,
    .layer = { head_norms, COUNT(head_norms) },
    .moe = { moe, COUNT(moe) },
    .expert = { expert, COUNT(expert) },
    .rope_gguf = ROPE_HALF,
    .rope_hf = ROPE_HALF,
};

const struct lm_arch lm_qwen2 = { .name = "qwen2",
                                  .member = qwen2_members,
                                  .n_members = COUNT(qwen2_members),
                                  .engine = &decoder_engine,
                                  .decoder = &qwen2_tables };
const struct lm_arch lm_qwen3 = { .name = "qwen3",
                                  .member = qwen3_members,
                                  .n_members = COUNT(qwen3_members),
                                  .engine = &decoder_engine,
                                  .decoder = &qwen3_tables };
