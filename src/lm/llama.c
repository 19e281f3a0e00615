/* llama.c - Llama 1 to 3, SmolLM2, Mistral (dense), Mixtral (routed experts): tables over decoder.c.
 *
 * GGUF files store q and k permuted so that rotary pairs stand side by side; Hugging Face files rotate halves. Both give
 * the same logits. GGUF calls Mixtral `llama` with experts. */
#include "lm/decoder.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
#define F(x) offsetof(struct lm_shape, x)

/* clang-format off */
static const struct hparam_spec hparams[] = {
    /* GGUF key            config.json key          field              min max      when absent */
    { "feed_forward_length", "intermediate_size",   F(n_ff),           1,  1 << 22, HPARAM_NEEDED },
    { "feed_forward_length", "intermediate_size",   F(n_ff_expert),    1,  1 << 22, HPARAM_NEEDED },
    { "expert_count",        "num_local_experts",   F(n_expert),       0,  1 << 12, 0 },
    { "expert_used_count",   "num_experts_per_tok", F(n_expert_used),  0,  1 << 12, 0 },
};

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

static const struct decoder_family family = {
    .hparams = hparams,
    .n_hparams = COUNT(hparams),
    .moe = { moe, COUNT(moe) },
    .expert = { expert, COUNT(expert) },
    .rope_gguf = ROPE_INTERLEAVED,
    .rope_hf = ROPE_HALF,
    .always_renorm = true,
};

static bool recognises(const struct weights *w)
{
    return hparams_is(w, "llama", "llama") || hparams_is(w, NULL, "mistral") ||
           hparams_is(w, NULL, "mixtral");
}

static bool load(struct lm_net **out, struct lm_shape *s, const struct weights *w, struct device *d,
                 int max_rows, struct err *e)
{
    return decoder_load(&family, out, s, w, d, max_rows, e);
}

const struct lm_arch lm_arch_llama = {
    .name = "llama",
    .covers = "llama, mistral, mixtral",
    .recognises = recognises,
    .load = load,
    .free = decoder_free,
    .step = decoder_step,
    .head = decoder_head,
    .bytes = decoder_bytes,
};
