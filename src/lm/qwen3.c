/* qwen3.c - Qwen3 dense and with routed experts, and Qwen2 before it: tables over decoder.c.
 *
 * Qwen3 normalises each head of q and k (a learned RMS norm) before the rotation; Qwen2 has biases on q, k and v instead.
 * Neither is permuted in GGUF files: pairs are halves in both formats. */
#include "lm/decoder.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
#define F(x) offsetof(struct lm_shape, x)

/* clang-format off */
static const struct hparam_spec dense_hparams[] = {
    /* GGUF key                     config.json key          field             min max      when absent */
    { "feed_forward_length",        "intermediate_size",     F(n_ff),          1,  1 << 22, HPARAM_NEEDED },
};

static const struct hparam_spec moe_hparams[] = {
    { "expert_feed_forward_length", "moe_intermediate_size", F(n_ff_expert),   1,  1 << 22, HPARAM_NEEDED },
    { "expert_count",               "num_experts|num_local_experts", F(n_expert), 1,  1 << 12, HPARAM_NEEDED },
    { "expert_used_count",          "num_experts_per_tok",   F(n_expert_used), 1,  1 << 12, HPARAM_NEEDED },
};

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

static const struct decoder_family qwen2 = {
    .hparams = dense_hparams,
    .n_hparams = COUNT(dense_hparams),
    .rope_gguf = ROPE_HALF,
    .rope_hf = ROPE_HALF,
    .window_opt_in = true,
};
static const struct decoder_family qwen3 = {
    .hparams = dense_hparams,
    .n_hparams = COUNT(dense_hparams),
    .layer = { head_norms, COUNT(head_norms) },
    .rope_gguf = ROPE_HALF,
    .rope_hf = ROPE_HALF,
    .window_opt_in = true,
};
static const struct decoder_family qwen3moe = {
    .hparams = moe_hparams,
    .n_hparams = COUNT(moe_hparams),
    .layer = { head_norms, COUNT(head_norms) },
    .moe = { moe, COUNT(moe) },
    .expert = { expert, COUNT(expert) },
    .rope_gguf = ROPE_HALF,
    .rope_hf = ROPE_HALF,
    .window_opt_in = true,
};

static const struct decoder_family *member(const struct weights *w)
{
    if (hparams_is(w, "qwen3moe", "qwen3_moe")) return &qwen3moe;
    if (hparams_is(w, "qwen3", "qwen3")) return &qwen3;
    if (hparams_is(w, "qwen2", "qwen2")) return &qwen2;
    return NULL;
}

static bool recognises(const struct weights *w) { return member(w) != NULL; }

static bool load(struct lm_net **out, struct lm_shape *s, const struct weights *w, struct device *d,
                 int max_rows, struct err *e)
{
    return decoder_load(member(w), out, s, w, d, max_rows, e);
}

const struct lm_arch lm_arch_qwen = {
    .name = "qwen",
    .covers = "qwen2, qwen3, qwen3_moe",
    .recognises = recognises,
    .load = load,
    .free = decoder_free,
    .step = decoder_step,
    .head = decoder_head,
    .bytes = decoder_bytes,
};
