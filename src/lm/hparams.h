/* hparams.h - a model's hyper-parameters, from GGUF metadata or a Hugging Face config.json.
 *
 * A family says in a struct hparam_family what its reference does with a configuration: which numbers it takes for keys that are
 * absent (the configuration classes of transformers), which keys it obeys, and which it passes over although they are there.
 * hparams_read() checks ranges and reports everything that is missing or out of range in one error. Older and newer key styles of
 * config.json are both understood.
 * GGUF   llama.cpp's own defaults hold, the same for every family; it knows no sliding window for these. */
#ifndef HEARTH_LM_HPARAMS_H
#define HEARTH_LM_HPARAMS_H

#include "format/gguf.h"
#include "lm/arch.h"

/* Which layers have a sliding window of config.json's sliding_window tokens. */
enum hparam_window {
    WINDOW_NONE,     /* none: the key is passed over (Llama) */
    WINDOW_ALL,      /* all of them, unless sliding_window is null (Mistral, Mixtral) */
    WINDOW_LISTED,   /* the same, but where there are layer_types those of them (Ministral) */
    WINDOW_SWITCHED, /* with use_sliding_window, all (Qwen3 with experts) */
    WINDOW_LAYERS, /* with use_sliding_window, those of layer_types, or from max_window_layers on (Qwen2, Qwen3) */
};

/* Which products have biases; others that lie in the file are passed over. */
enum hparam_bias {
    BIAS_NONE,
    BIAS_QKV,           /* q, k and v, always (Qwen2) */
    BIAS_ATTENTION,     /* q, k, v and the output with attention_bias (Qwen3) */
    BIAS_ATTENTION_MLP, /* the same, and the feed-forward with mlp_bias (Llama) */
};

struct hparam_family {
    const char *gguf, *hf; /* general.architecture (NULL: none of its own) and model_type */
    /* What counts where config.json has no such key. n_kv_head 0: as many as n_head; head_dim 0: n_embd / n_head; n_expert 0: the
     * family has none, whatever config.json says; n_ff_expert 0: n_ff. */
    struct lm_shape absent;
    enum hparam_window window;
    enum hparam_bias bias;
    bool mixed;  /* decoder_sparse_step and mlp_only_layers make some layers dense */
    bool renorm; /* routing weights of the chosen experts sum to one; else norm_topk_prob decides */
};

/* The members of `family` [n] that describe this model; NULL: none. */
const struct hparam_family *hparams_member(const struct hparam_family *family, int n,
                                           const struct weights *w);

/* Layers, widths, heads, experts, context, eps, rotary embedding with its scaling. */
bool hparams_read(struct lm_shape *s, const struct hparam_family *f, const struct weights *w, struct err *e);

/* Of layer `il`: its window in tokens (0: none); whether it has routed experts. After hparams_read(). */
int hparams_window(const struct lm_shape *s, const struct hparam_family *f, const struct weights *w, int il);
bool hparams_routed(const struct lm_shape *s, const struct hparam_family *f, const struct weights *w, int il);

/* Has a config.json model of this family these biases? (A GGUF file has those that lie in it.) */
struct hparam_biases {
    bool qkv, out, mlp;
};
struct hparam_biases hparams_biases(const struct hparam_family *f, const struct weights *w);

/* Do the chosen experts' weights sum to one? */
bool hparams_renorm(const struct hparam_family *f, const struct weights *w);

/* tie_word_embeddings, of the whole model or of its text part. */
enum hparam_tied { TIED_UNSAID, TIED_NO, TIED_YES };
enum hparam_tied hparams_tied(const struct weights *w);

/* config.json's object that holds the text model; NULL for GGUF. */
const json_t *hparams_config(const struct weights *w);
/* Its model_type, as the reference takes it: inside a larger model that one's default where it is absent; Mistral with layer_types is
 * Ministral. NULL: it says none. */
const char *hparams_type(const struct weights *w);

#endif
