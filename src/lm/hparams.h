/* hparams.h - a model's hyper-parameters, from GGUF metadata or a Hugging Face config.json.
 *
 * A family says in a struct hparam_family what its reference does with a configuration: which numbers it takes for keys that are
 * absent (the configuration classes of transformers; llama.cpp for GGUF), which keys it obeys, and which it passes over although
 * they are there. What no field here can say its hook does: layers().
 * hparams_read() reads the numbers, fills the record of every layer, calls the hook, and only then checks ranges; everything that is
 * missing, out of range or not supported comes in one error. Older and newer key styles of config.json are both understood. */
#ifndef HEARTH_LM_HPARAMS_H
#define HEARTH_LM_HPARAMS_H

#include "base/buf.h"
#include "format/gguf.h"
#include "lm/arch.h"

/* Which layers have a sliding window of config.json's sliding_window tokens. GGUF files have none, but with WINDOW_PATTERN. */
enum hparam_window {
    WINDOW_NONE,     /* none: the key is passed over (Llama) */
    WINDOW_ALL,      /* all of them, unless sliding_window is null (Mistral, Mixtral) */
    WINDOW_LISTED,   /* the same, but where there are layer_types those of them (Ministral) */
    WINDOW_PATTERN,  /* the same, or all but every n-th by sliding_window_pattern (Gemma 3) */
    WINDOW_SWITCHED, /* with use_sliding_window, all (Qwen3 with experts) */
    WINDOW_LAYERS, /* with use_sliding_window, those of layer_types, or from max_window_layers on (Qwen2, Qwen3) */
};

/* Which products have biases; others that lie in the file are passed over. */
enum hparam_bias {
    BIAS_NONE,
    BIAS_QKV,           /* q, k and v, always (Qwen2) */
    BIAS_QKV_ASKED,     /* q, k and v with attention_bias (GLM) */
    BIAS_ATTENTION,     /* q, k, v and the output with attention_bias (Qwen3) */
    BIAS_ATTENTION_MLP, /* the same, and the feed-forward with mlp_bias (Llama) */
};

/* What counts where a file has no such key. 0: the key is needed, or the number follows from others: n_kv_head as n_head,
 * head_dim from n_embd / n_head, n_ff_expert as n_ff. */
struct hparam_numbers {
    int n_layer, n_embd, n_head, n_kv_head, head_dim, n_ff, n_ctx_train;
    int n_expert; /* 0: the family has no experts, whatever config.json says */
    int n_expert_used, n_ff_expert;
    int window, window_pattern;
    double eps, theta;
    double theta_local; /* not 0: layers with a window have a rotary embedding of their own, of this base */
    double part;        /* of a head that rotates; 0: all of it, whatever partial_rotary_factor says */
};

/* Where a hook reads. One of gguf and config is NULL. */
struct hparam_source {
    const struct gguf *gguf;
    const json_t *config; /* the text model's object */
    char arch[64];        /* before the dot in GGUF's keys */
    struct buf *bad;      /* faults found so far */
};

struct hparam_family {
    const char *gguf, *hf; /* general.architecture (NULL: none of its own) and model_type */
    /* Types of larger models whose text part this is where it names none itself; the last one NULL. NULL: none. */
    const char *const *within;
    struct hparam_numbers absent, absent_gguf;
    enum hparam_window window;
    enum hparam_bias bias;
    bool biased;         /* attention_bias where it is absent */
    const char *act_key; /* of config.json; NULL: hidden_act */
    enum lm_act act;     /* where it is absent, and in GGUF files */
    bool tied;           /* the head is the embedding where tie_word_embeddings is absent */
    bool mixed;          /* decoder_sparse_step and mlp_only_layers make some layers dense */
    bool renorm;         /* routing weights of the chosen experts sum to one; else norm_topk_prob decides */
    /* What is particular: *s has its numbers and its layers' records, may change them, and is checked afterwards. NULL: nothing. */
    void (*layers)(struct lm_shape *s, const struct hparam_source *src);
    bool own_values; /* values have a width of their own (attention.value_length), which layers() reads */
    const char *const *keys; /* that layers() follows, of both formats; the last one NULL. NULL: none */
};

/* The members of `family` [n] that describe this model; NULL: none. */
const struct hparam_family *hparams_member(const struct hparam_family *family, int n,
                                           const struct weights *w);

bool hparams_read(struct lm_shape *s, const struct hparam_family *f, const struct weights *w, struct err *e);

/* For hooks: a number under its key in either format (NULL: not in files of that kind); `absent` where it is not there or null, NaN
 * where it is no number. */
double hparams_number(const struct hparam_source *src, const char *gguf, const char *hf, double absent);
/* A whole number of min..max under its key; `absent` where it is not there or null, a fault and min where it is none. */
int hparams_whole(const struct hparam_source *src, const char *gguf, const char *hf, int absent, int min,
                  int max);
/* true, false, null or absent; anything else is a fault. */
bool hparams_switch(const struct hparam_source *src, const char *hf, bool absent);
/* Adds "TEXT; " to what is wrong, once. A text with "not supported" in it makes the error ERR_UNSUPPORTED. */
void hparams_complain(struct buf *bad, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Has a config.json model of this family these biases? (A GGUF file has those that lie in it.) */
struct hparam_biases {
    bool qkv, out, mlp;
};
struct hparam_biases hparams_biases(const struct hparam_family *f, const struct weights *w);

/* tie_word_embeddings, of the whole model or of its text part. */
enum hparam_tied { TIED_UNSAID, TIED_NO, TIED_YES };
enum hparam_tied hparams_tied(const struct weights *w);

/* config.json's object that holds the text model; NULL for GGUF. */
const json_t *hparams_config(const struct weights *w);
/* Its model_type, or that of the larger model where it has none; Mistral with layer_types is Ministral, as the reference takes it. NULL:
 * it says none. */
const char *hparams_type(const struct weights *w);

#endif
