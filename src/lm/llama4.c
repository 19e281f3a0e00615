/* llama4.c - Llama 4, the text half of Scout and Maverick: tables over decoder.c.
 *
 * Layers    three of four rotate neighbouring channels, and see the positions of their own chunk of the text alone; the fourth rotates
 *           nothing, sees everything, and looks sharper the further into the text it stands. Scout gives the heads of q and k a mean
 *           square of 1 after the rotation.
 * Experts   each token goes to the expert of the largest logit and to a shared one; the logit's sigmoid multiplies what goes into the
 *           expert. In Scout every layer has experts, in Maverick every other one, and the layers between a wider dense network.
 * Names     intermediate_size is the experts' width and intermediate_size_mlp that of dense layers. In GGUF files feed_forward_length
 *           is the dense width, and what the two models have alike is in no key. Rows of q and k are permuted in neither format. */
#include <math.h>
#include <string.h>

#include "lm/decoder.h"
#include "lm/hparams.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
#define CHUNK 8192 /* of the published models, where a GGUF file says nothing */

/* A whole number of min..max under its key; `absent` and a fault where it is none. */
static int count_of(const struct hparam_source *src, const char *gguf, const char *hf, int absent, int min,
                    int max)
{
    const double x = hparams_number(src, gguf, hf, absent);
    if (x >= min && x <= max && x == floor(x)) return (int)x;
    hparams_complain(src->bad, "%s is no whole number from %d to %d", src->gguf ? gguf : hf, min, max);
    return absent;
}

static const json_t *list_of(const struct hparam_source *src, const char *key)
{
    const json_t *v = json_object_get(src->config, key);
    if (!v || json_is_null(v)) return NULL;
    if (json_is_array(v)) return v;
    hparams_complain(src->bad, "%s is no list", key);
    return NULL;
}

/* As Python takes it: 4 is yes, in files from before the key was a yes or no. */
static bool is_true(const struct hparam_source *src, const char *key, bool absent)
{
    const json_t *v = json_object_get(src->config, key);
    if (!v) return absent;
    return json_is_true(v) || (json_is_number(v) && json_number_value(v) != 0);
}

/* ---- which layers have experts ------------------------------------------------------------------------------------- */

static void listed_experts(struct lm_shape *s, const struct hparam_source *src, const json_t *list)
{
    const json_t *one;
    size_t i;
    for (int il = 0; il < s->n_layer; il++) s->layer[il].routed = false;
    json_array_foreach(list, i, one)
    {
        const json_int_t il = json_is_integer(one) ? json_integer_value(one) : -1;
        if (il < 0)
            hparams_complain(src->bad, "moe_layers is not a list of layers");
        else if (il < s->n_layer)
            s->layer[il].routed = s->n_expert > 0;
    }
}

static void place_experts(struct lm_shape *s, const struct hparam_source *src)
{
    static const char key[] = "interleave_moe_layer_step";
    const json_t *list = list_of(src, "moe_layers");
    if (list) {
        listed_experts(s, src, list);
        return;
    }
    const int step = count_of(src, key, key, src->gguf ? 0 : 1, 0, LM_MAX_LAYER);
    if (!step) hparams_complain(src->bad, src->gguf ? "%s is missing" : "%s is 0", key);
    for (int il = 0; il < s->n_layer; il++)
        s->layer[il].routed = s->n_expert > 0 && step > 0 && (il + 1) % step == 0;
}

/* ---- which layers rotate, and what they see ------------------------------------------------------------------------ */

static void place_rotation(struct lm_shape *s, const struct hparam_source *src)
{
    const json_t *list = list_of(src, "no_rope_layers");
    if (json_array_size(list) == 0) list = NULL; /* empty: as absent */
    if (list && json_array_size(list) < (size_t)s->n_layer) {
        hparams_complain(src->bad, "no_rope_layers has %zu entries for %d layers", json_array_size(list),
                         s->n_layer);
        return;
    }
    const int every = count_of(src, NULL, "no_rope_layer_interval", 4, 1, 1 << 16);
    for (int il = 0; il < s->n_layer; il++) {
        const bool rotates =
            list ? json_integer_value(json_array_get(list, (size_t)il)) != 0 : (il + 1) % every != 0;
        s->layer[il].rope = rotates ? 0 : -1;
    }
}

/* Does a layer see its chunk alone? layer_types says it, or else whether the layer rotates. */
static bool is_chunked(const struct lm_shape *s, const struct hparam_source *src, const json_t *types, int il)
{
    if (!types) return s->layer[il].rope >= 0;
    const char *type = json_string_value(json_array_get(types, (size_t)il));
    if (type && strcmp(type, "chunked_attention") == 0) return true;
    if (!type || strcmp(type, "full_attention") != 0)
        hparams_complain(src->bad,
                         "layer_types: \"%.40s\" is not supported (full_attention and chunked_attention are)",
                         type ? type : "(not a string)");
    return false;
}

/* llama.cpp takes 8192 whatever the file says, but for a window of 0: then no layer has chunks and all of them rotate. */
static int chunk_of_gguf(struct lm_shape *s, const struct hparam_source *src)
{
    if (hparams_number(src, "attention.sliding_window", NULL, CHUNK) == 0) {
        for (int il = 0; il < s->n_layer; il++) s->layer[il].rope = 0;
        return 0;
    }
    return count_of(src, "attention.chunk_size", NULL, CHUNK, 1, 1 << 28);
}

static void place_chunks(struct lm_shape *s, const struct hparam_source *src)
{
    const json_t *types = list_of(src, "layer_types"),
                 *size = json_object_get(src->config, "attention_chunk_size");
    if (types && json_array_size(types) != (size_t)s->n_layer) {
        hparams_complain(src->bad, "layer_types has %zu entries for %d layers", json_array_size(types),
                         s->n_layer);
        return;
    }
    const int chunk = src->gguf            ? chunk_of_gguf(s, src)
                      : json_is_null(size) ? 0
                                           : count_of(src, NULL, "attention_chunk_size", CHUNK, 1, 1 << 28);
    for (int il = 0; il < s->n_layer; il++) {
        if (!is_chunked(s, src, types, il)) continue;
        if (!chunk && !src->gguf)
            hparams_complain(src->bad, "attention_chunk_size is null, but layers have chunks");
        s->layer[il].chunk = chunk;
    }
}

/* GGUF files do not say whether heads are normalised: Maverick's, which have 128 experts, are not. */
static void place_norms(struct lm_shape *s, const struct hparam_source *src)
{
    enum { EXPERTS_OF_MAVERICK = 128 };
    const bool unit = src->gguf ? s->n_expert != EXPERTS_OF_MAVERICK : is_true(src, "use_qk_norm", true);
    for (int il = 0; il < s->n_layer; il++) s->layer[il].unit_heads = unit && s->layer[il].rope >= 0;
}

static void read_temper(struct lm_shape *s, const struct hparam_source *src)
{
    if (!src->gguf && !is_true(src, "attn_temperature_tuning", true)) return;
    const double scale = hparams_number(src, "attention.temperature_scale", "attn_scale", 0.1);
    if (!(scale >= 0 && scale < 1000))
        hparams_complain(src->bad, "the temperature of attention grows by %g", scale);
    s->temper.scale = (float)scale;
    s->temper.every = (float)count_of(src, "attention.temperature_length", "floor_scale", 8192, 1, 1 << 28);
    for (int il = 0; il < s->n_layer; il++) s->layer[il].tempered = s->layer[il].rope < 0;
}

/* Scout's first upload named the factors of Llama 3.1 by mistake. */
static void mend_scaling(struct lm_shape *s)
{
    struct rope_spec *r = &s->rope[0];
    const bool scout = s->n_layer == 48 && s->n_expert == 16;
    if (!scout || r->scaling != ROPE_SCALING_LLAMA3 || r->factor != 8 || r->high != 4) return;
    r->factor = 16;
    r->high = 1;
}

static void particular(struct lm_shape *s, const struct hparam_source *src)
{
    if (!src->gguf) { /* intermediate_size is the experts' */
        s->n_ff_expert = s->n_ff;
        s->n_ff = count_of(src, NULL, "intermediate_size_mlp", 16384, 1, 1 << 22);
    }
    s->n_ff_shared = s->n_expert ? s->n_ff_expert : 0;
    s->routing.kind = ROUTE_SIGMOID;
    s->routing.renorm = false;
    s->weight_on_input = true;
    place_experts(s, src);
    place_rotation(s, src);
    place_chunks(s, src);
    place_norms(s, src);
    read_temper(s, src);
    mend_scaling(s);
}

static const char *const keys[] = { "intermediate_size_mlp", "moe_layers", "interleave_moe_layer_step",
                                    "no_rope_layers", "no_rope_layer_interval", "layer_types",
                                    "attention_chunk_size", "use_qk_norm", "attn_temperature_tuning",
                                    "attn_scale", "floor_scale",
                                    /* GGUF */
                                    "attention.chunk_size", "attention.sliding_window",
                                    "attention.temperature_scale", "attention.temperature_length",
                                    "expert_shared_count", "expert_gating_func", NULL };
static const char *const within[] = { "llama4", NULL };

/* What transformers' Llama4TextConfig takes where the file says nothing. */
static const struct hparam_family members[] = {
    { .gguf = "llama4",
      .hf = "llama4_text",
      .within = within,
      .absent = { .n_layer = 48,
                  .n_embd = 5120,
                  .n_head = 40,
                  .n_kv_head = 8,
                  .head_dim = 128,
                  .n_ff = 8192,
                  .n_ctx_train = 131072,
                  .n_expert = 16,
                  .n_expert_used = 1,
                  .eps = 1e-5,
                  .theta = 500000 },
      .window = WINDOW_NONE,
      .bias = BIAS_ATTENTION,
      .layers = particular,
      .keys = keys },
};

/* clang-format off */
#define HF "model.layers.{l}.feed_forward."
#define GG "blk.{l}."
static const struct tensor_spec dense[] = {
    { L_GATE, GG "ffn_gate.weight", HF "gate_proj.weight", { DIM_FF, DIM_EMBD }, TENSOR_NEEDED },
    { L_UP,   GG "ffn_up.weight",   HF "up_proj.weight",   { DIM_FF, DIM_EMBD }, TENSOR_NEEDED },
    { L_DOWN, GG "ffn_down.weight", HF "down_proj.weight", { DIM_EMBD, DIM_FF }, TENSOR_NEEDED },
};

static const struct tensor_spec moe[] = {
    { L_ROUTER,       GG "ffn_gate_inp.weight",     HF "router.weight", { DIM_EXPERT, DIM_EMBD },     TENSOR_OPTIONAL },
    { L_GATE_EXPS,    GG "ffn_gate_exps.weight",    NULL, { DIM_EXPERT, DIM_FF_EXPERT, DIM_EMBD },  TENSOR_OPTIONAL },
    { L_UP_EXPS,      GG "ffn_up_exps.weight",      NULL, { DIM_EXPERT, DIM_FF_EXPERT, DIM_EMBD },  TENSOR_OPTIONAL },
    { L_GATE_UP_EXPS, GG "ffn_gate_up_exps.weight", NULL, { DIM_EXPERT, DIM_2FF_EXPERT, DIM_EMBD }, TENSOR_OPTIONAL },
    { L_DOWN_EXPS,    GG "ffn_down_exps.weight",    NULL, { DIM_EXPERT, DIM_EMBD, DIM_FF_EXPERT },  TENSOR_OPTIONAL },
    { L_GATE_UP_EXPS, NULL, HF "experts.gate_up_proj", { DIM_EXPERT, DIM_EMBD, DIM_2FF_EXPERT },    TENSOR_OPTIONAL | TENSOR_IN_OUT },
    { L_DOWN_EXPS,    NULL, HF "experts.down_proj",    { DIM_EXPERT, DIM_FF_EXPERT, DIM_EMBD },     TENSOR_OPTIONAL | TENSOR_IN_OUT },
    { L_SHARED_GATE,  GG "ffn_gate_shexp.weight", HF "shared_expert.gate_proj.weight", { DIM_FF_SHARED, DIM_EMBD }, TENSOR_NEEDED },
    { L_SHARED_UP,    GG "ffn_up_shexp.weight",   HF "shared_expert.up_proj.weight",   { DIM_FF_SHARED, DIM_EMBD }, TENSOR_NEEDED },
    { L_SHARED_DOWN,  GG "ffn_down_shexp.weight", HF "shared_expert.down_proj.weight", { DIM_EMBD, DIM_FF_SHARED }, TENSOR_NEEDED },
};

/* Exports in FP8, and files that were made of such. */
#define EXPERT HF "experts.{e}."
static const struct tensor_spec expert[] = {
    { E_GATE, GG "ffn_gate.{e}.weight", EXPERT "gate_proj.weight", { DIM_FF_EXPERT, DIM_EMBD }, TENSOR_NEEDED },
    { E_UP,   GG "ffn_up.{e}.weight",   EXPERT "up_proj.weight",   { DIM_FF_EXPERT, DIM_EMBD }, TENSOR_NEEDED },
    { E_DOWN, GG "ffn_down.{e}.weight", EXPERT "down_proj.weight", { DIM_EMBD, DIM_FF_EXPERT }, TENSOR_NEEDED },
};
/* clang-format on */

static const struct tensor_specs dense_specs = { dense, COUNT(dense) };
static const struct decoder_family tables = {
    .norms = &decoder_pre_norms,
    .dense = &dense_specs,
    .moe = { moe, COUNT(moe) },
    .expert = { expert, COUNT(expert) },
    .rope_gguf = ROPE_INTERLEAVED,
    .rope_hf = ROPE_INTERLEAVED,
};

const struct lm_arch lm_llama4 = { .name = "llama4",
                                   .member = members,
                                   .n_members = COUNT(members),
                                   .engine = &decoder_engine,
                                   .decoder = &tables,
                                   .sees = true };
