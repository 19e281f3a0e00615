/* smollm3.c - SmolLM3: Llama whose every fourth layer does not rotate q and k. GGUF files store q and k permuted, as Llama's. */
#include "lm/decoder.h"
#include "lm/hparams.h"

/* no_rope_layers has a 1 for each layer that rotates; without it, and in GGUF files, every fourth does not. */
static void particular(struct lm_shape *s, const struct hparam_source *src)
{
    const json_t *list = json_object_get(src->config, "no_rope_layers");
    const double every = hparams_number(src, NULL, "no_rope_layer_interval", 4);
    const bool listed = list && !json_is_null(list);
    if (listed && json_array_size(list) < (size_t)s->n_layer)
        hparams_complain(src->bad, "no_rope_layers has %zu entries for %d layers", json_array_size(list),
                         s->n_layer);
    if (!(every >= 1 && every <= LM_MAX_LAYER && every == (int)every)) {
        hparams_complain(src->bad, "no_rope_layer_interval is no whole number of layers");
        return;
    }
    for (int il = 0; il < s->n_layer; il++) {
        const bool rotates =
            listed ? json_integer_value(json_array_get(list, (size_t)il)) != 0 : (il + 1) % (int)every != 0;
        s->layer[il].rope = rotates ? 0 : -1;
    }
    if (json_is_true(json_object_get(src->config, "use_sliding_window")) &&
        hparams_number(src, NULL, "sliding_window", 0) != 0 &&
        !json_is_array(json_object_get(src->config, "layer_types")))
        hparams_complain(src->bad, "use_sliding_window without layer_types is not supported");
}

static const char *const keys[] = { "no_rope_layers", "no_rope_layer_interval", NULL };

/* What transformers' SmolLM3Config takes where config.json says nothing. */
static const struct hparam_family members[] = {
    { .gguf = "smollm3",
      .hf = "smollm3",
      .absent = { .n_layer = 36,
                  .n_embd = 2048,
                  .n_head = 16,
                  .n_kv_head = 4,
                  .n_ff = 11008,
                  .n_ctx_train = 32768,
                  .eps = 1e-6,
                  .theta = 2000000 },
      .window = WINDOW_LAYERS,
      .bias = BIAS_ATTENTION_MLP,
      .tied = true,
      .layers = particular,
      .keys = keys },
};

static const struct decoder_family tables = { .norms = &decoder_pre_norms,
                                              .rope_gguf = ROPE_INTERLEAVED,
                                              .rope_hf = ROPE_HALF };

const struct lm_arch lm_smollm3 = {
    .name = "smollm3", .member = members, .n_members = 1, .engine = &decoder_engine, .decoder = &tables
};
