#include "image/config_keys.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "format/json_memory.h"

static const struct config_key *find(const struct config_key *keys, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(keys[i].name, name) == 0) return &keys[i];
    return NULL;
}

bool config_key_known(const struct config_key *keys, size_t n, const char *name)
{
    return name[0] == '_' || find(keys, n, name);
}

/* 1 and 1.0 are the same to what reads these files. */
static bool equal(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

static bool allowed(const json_t *value, const char *only)
{
    json_t *list = json_loads(only, 0, NULL);
    const json_t *one;
    size_t i;
    bool ok = false;
    json_array_foreach(list, i, one) ok |= equal(value, one);
    json_decref(list);
    return ok;
}

/* Of training, of decoders and of text generation. */
static const char *const of_every_model[] = {
    "architectures",
    "model_type",
    "transformers_version",
    "torch_dtype",
    "dtype",
    "initializer_range",
    "initializer_factor",
    "dropout",
    "dropout_rate",
    "attention_dropout",
    "classifier_dropout",
    "use_cache",
    "return_dict",
    "output_hidden_states",
    "output_attentions",
    "torchscript",
    "use_bfloat16",
    "tf_legacy_loss",
    "pruned_heads",
    "tie_word_embeddings",
    "tie_encoder_decoder",
    "chunk_size_feed_forward",
    "is_encoder_decoder",
    "is_decoder",
    "cross_attention_hidden_size",
    "add_cross_attention",
    "max_length",
    "min_length",
    "do_sample",
    "early_stopping",
    "num_beams",
    "num_beam_groups",
    "diversity_penalty",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "repetition_penalty",
    "length_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "bad_words_ids",
    "num_return_sequences",
    "output_scores",
    "return_dict_in_generate",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "remove_invalid_values",
    "exponential_decay_length_penalty",
    "suppress_tokens",
    "begin_suppress_tokens",
    "finetuning_task",
    "id2label",
    "label2id",
    "tokenizer_class",
    "prefix",
    "bos_token_id",
    "pad_token_id",
    "eos_token_id",
    "sep_token_id",
    "decoder_start_token_id",
    "task_specific_params",
    "problem_type",
    "output_past",
    "n_positions",
    "max_source_positions",
    "gradient_checkpointing",
    "attn_implementation",
};

static bool of_transformers(const char *name)
{
    for (size_t i = 0; i < sizeof of_every_model / sizeof *of_every_model; i++)
        if (strcmp(of_every_model[i], name) == 0) return true;
    return false;
}

static bool check(const json_t *config, const struct config_key *keys, size_t n, bool text_model,
                  const char *what, struct err *e)
{
    const char *name;
    const json_t *value;
    json_object_foreach((json_t *)config, name, value)
    {
        /* How weights are packed is whoever opens them's to refuse. */
        if (name[0] == '_' || strcmp(name, "quantization_config") == 0) continue;
        const struct config_key *k = find(keys, n, name);
        if (!k && text_model && of_transformers(name)) continue;
        if (k && (!k->only || allowed(value, k->only))) continue;
        char *text = json_memory_dumps(value, JSON_ENCODE_ANY);
        if (k) {
            err_set(e, ERR_UNSUPPORTED, "%s: %.60s %.60s is not supported (only %.80s)", what, name,
                    text ? text : "", k->only);
        } else {
            log_warn("%s: the key %.60s is not known here, its value %.60s is not followed", what, name,
                     text ? text : "");
        }
        free(text);
        if (k) return false;
    }
    return true;
}

bool config_keys_check(const json_t *config, const struct config_key *keys, size_t n, const char *what,
                       struct err *e)
{
    return check(config, keys, n, false, what, e);
}

bool config_keys_check_text(const json_t *config, const struct config_key *keys, size_t n, const char *what,
                            struct err *e)
{
    return check(config, keys, n, true, what, e);
}
