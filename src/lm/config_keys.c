#include "lm/config_keys.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "lm/rope_config.h"

static const char *const followed[] = {
    "model_type",
    "num_hidden_layers",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "rms_norm_eps",
    "hidden_act",
    "hidden_activation", /* held against the one that counts (hparams.c) */
    "activation_function",
    "mlp_hidden_act",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "original_max_position_embeddings",
    "tie_word_embeddings",
    "quantization_config",
    "compression_config",
    "per_layer_config",
    "bos_token_id",
    "eos_token_id",
    NULL,
};

/* Training, generation defaults, classifiers, how the reference computes and stores; vocab_size is the embedding's. */
static const char *const harmless[] = {
    "architectures",
    "vocab_size",
    "torch_dtype",
    "dtype",
    "transformers_version",
    "_name_or_path",
    "name_or_path",
    "_attn_implementation_autoset",
    "_commit_hash",
    "use_cache",
    "cache_implementation",
    "_sliding_window_pattern", /* beside the layer_types that transformers made of it */
    "initializer_range",
    "attention_dropout",
    "pretraining_tp",
    "pad_token_id",
    "sep_token_id",
    "cls_token_id",
    "decoder_start_token_id",
    "unk_token_id",
    "output_router_logits",
    "router_aux_loss_coef",
    "router_jitter_noise",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
    "chunk_size_feed_forward",
    "id2label",
    "label2id",
    "num_labels",
    "problem_type",
    "task_specific_params",
    "gradient_checkpointing",
    "is_llama_config",
    "rope_interleaved",
    "max_length",
    "min_length",
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "repetition_penalty",
    "length_penalty",
    "num_beams",
    "num_beam_groups",
    "diversity_penalty",
    "num_return_sequences",
    "no_repeat_ngram_size",
    "early_stopping",
    "tokenizer_class",
    "prefix",
    "for_llm_compressor", /* Llama 4: how its FP8 copy was made */
    "unsloth_version",
    "unsloth_fixed",
    "model_name",
    "transformers.js_config",
    "auto_map",
    "pruned_heads",
    "torchscript",
    "use_bfloat16",
    "tf_legacy_loss",
    "is_decoder",
    "tie_encoder_decoder",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "remove_invalid_values",
    "return_dict_in_generate",
    "output_scores",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
    NULL,
};

static const char *const rope[] = {
    "rope_type",
    "type",
    "rope_theta",
    "factor",
    "beta_fast",
    "beta_slow",
    "attention_factor",
    "original_max_position_embeddings",
    "mscale",
    "mscale_all_dim",
    "low_freq_factor",
    "high_freq_factor",
    "truncate",
    "full_attention",
    "finetuned",
    "sliding_attention",
    "long_factor",
    "short_factor",
    NULL,
};

static bool among(const char *const *list, const char *key)
{
    for (; *list; list++)
        if (strcmp(*list, key) == 0) return true;
    return false;
}

/* Keys that some families obey and others pass over. */
static bool obeyed(const struct hparam_family *f, const char *key)
{
    static const char *const experts[] = { "num_experts", "num_local_experts", "num_experts_per_tok", NULL };
    static const char *const widths[] = { "moe_intermediate_size", "norm_topk_prob", NULL };
    static const char *const mixed[] = { "decoder_sparse_step", "mlp_only_layers", NULL };
    if (strcmp(key, "sliding_window") == 0) return f->window != WINDOW_NONE;
    if (strcmp(key, "use_sliding_window") == 0) return f->window >= WINDOW_SWITCHED;
    if (strcmp(key, "max_window_layers") == 0) return f->window == WINDOW_LAYERS;
    if (strcmp(key, "layer_types") == 0)
        return f->window == WINDOW_LAYERS || f->window == WINDOW_LISTED || f->window == WINDOW_PATTERN;
    if (strcmp(key, "sliding_window_pattern") == 0) return f->window == WINDOW_PATTERN;
    if (strcmp(key, "rope_local_base_freq") == 0) return f->absent.theta_local > 0;
    if (f->keys && among(f->keys, key)) return true;
    if (strcmp(key, "attention_bias") == 0) return f->bias >= BIAS_QKV_ASKED;
    if (strcmp(key, "partial_rotary_factor") == 0) return f->absent.part > 0;
    if (strcmp(key, "mlp_bias") == 0) return f->bias == BIAS_ATTENTION_MLP;
    return (among(experts, key) && f->absent.n_expert) || (among(widths, key) && f->absent.n_ff_expert) ||
           (among(mixed, key) && f->mixed);
}

static bool says_nothing(const json_t *v)
{
    return json_is_null(v) || json_is_false(v) || (json_is_number(v) && json_number_value(v) == 0) ||
           (json_is_string(v) && json_string_length(v) == 0) ||
           (json_is_array(v) && json_array_size(v) == 0) || (json_is_object(v) && json_object_size(v) == 0);
}

/* use_sliding_window switches the others on: without it they say nothing. */
static bool switched_off(const struct hparam_family *f, const json_t *config, const char *key)
{
    static const char *const window[] = { "sliding_window", "max_window_layers", NULL };
    const json_t *on = json_object_get(config, "use_sliding_window");
    return among(window, key) && f->window >= WINDOW_SWITCHED && on && !json_is_true(on);
}

static void name_key(struct buf *out, const char *within, const char *key)
{
    buf_printf(out, "%s%s%s%.60s", out->len ? ", " : "", within, *within ? "." : "", key);
}

void config_keys_unused(struct buf *out, const struct hparam_family *f, const json_t *config)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)config, key, v)
    {
        if (says_nothing(v) || among(followed, key) || among(harmless, key) || obeyed(f, key) ||
            switched_off(f, config, key))
            continue;
        name_key(out, "", key);
    }
    const json_t *counts = rope_config(config);
    const bool old = counts == json_object_get(config, "rope_scaling");
    if (old && !f->absent.theta_local && json_object_size(json_object_get(config, "rope_parameters")))
        name_key(out, "", "rope_parameters");
    json_object_foreach((json_t *)counts, key, v)
    {
        if (!says_nothing(v) && !among(rope, key) && !obeyed(f, key))
            name_key(out, old ? "rope_scaling" : "rope_parameters", key);
    }
}

/* After "ARCH.": those that hparams.c and rope_config.c follow, and what says again what the tensors say. */
static const char *const gguf_known[] = {
    "block_count",
    "embedding_length",
    "feed_forward_length",
    "context_length",
    "vocab_size",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "expert_count",
    "expert_used_count",
    "expert_feed_forward_length",
    "rope.freq_base",
    "rope.dimension_count",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.low_freq_factor",
    "rope.scaling.high_freq_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.finetuned",
    "tensor_data_layout",
    NULL,
};

static bool obeyed_gguf(const struct hparam_family *f, const char *key)
{
    static const char *const window[] = { "attention.sliding_window", "attention.sliding_window_pattern",
                                          NULL };
    return (f->window == WINDOW_PATTERN && among(window, key)) ||
           (f->absent_gguf.theta_local > 0 && strcmp(key, "rope.freq_base_swa") == 0) ||
           (f->keys && among(f->keys, key));
}

void config_keys_unused_gguf(struct buf *out, const struct hparam_family *f, const struct gguf *g)
{
    const struct gguf_str arch = gguf_string(g, "general.architecture");
    for (size_t i = 0; i < gguf_count(g); i++) {
        const struct gguf_value *v = gguf_at(g, i);
        if (v->key.len <= arch.len + 1 || memcmp(v->key.data, arch.data, arch.len) != 0 ||
            v->key.data[arch.len] != '.' || v->key.len - arch.len > 60)
            continue;
        char key[64];
        snprintf(key, sizeof key, "%.*s", (int)(v->key.len - arch.len - 1), v->key.data + arch.len + 1);
        const bool nothing =
            v->n == 0 || (v->n == 1 && v->type != GGUF_STRING && gguf_value_float(v, 0, 1) == 0);
        if (!nothing && !among(gguf_known, key) && !obeyed_gguf(f, key)) name_key(out, "", key);
    }
}

void config_keys_report(const struct hparam_family *f, const struct weights *w)
{
    struct buf b = BUF_INIT(2000);
    const struct gguf *g = weights_gguf(w);
    if (g)
        config_keys_unused_gguf(&b, f, g);
    else
        config_keys_unused(&b, f, hparams_config(w));
    if (b.len && g)
        log_warn("metadata without effect on a model of this architecture: %s", b.data);
    else if (b.len)
        log_warn("config.json: without effect on a model of type %s, as in its reference: %s", f->hf, b.data);
    buf_free(&b);
}
