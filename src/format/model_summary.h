/* model_summary.h - what a model's files say about it, for people: name, family, sizes, memory. `hearth inspect` and
 * `hearth models` print it. The engines read their own hyperparameters; nothing here decides how a model runs.
 *
 * Sources  GGUF metadata (general.*, ARCH.*), the keys of config.json (also below text_config), and where there is
 *          neither, the tensors' names. What a file does not say is 0 or "". */
#ifndef HEARTH_FORMAT_MODEL_SUMMARY_H
#define HEARTH_FORMAT_MODEL_SUMMARY_H

#include <stdint.h>

#include "format/weights.h"

struct model_summary {
    char name[128]; /* UTF-8 without control characters; "" when the files do not say */
    char arch[64];
    const char *format; /* "GGUF" or "safetensors" */
    const char *type;   /* the element type that takes most bytes */
    int64_t n_params;   /* elements of all floating-point tensors */
    size_t weight_bytes;
    size_t type_bytes[DT_COUNT], type_count[DT_COUNT];

    /* Language models; n_layer 0 when it is none. */
    int64_t n_layer, n_embd, n_head, n_kv_head, head_dim, v_dim, n_ff, n_vocab, n_ctx_train;
    int64_t n_expert, n_expert_used;
    int64_t kv_lora_rank, rope_dim; /* multi-head latent attention (DeepSeek), else kv_lora_rank 0 */
    int64_t kv_elems; /* numbers kept of each past token, summed over layers; 0 when not known */
};

void model_summary_read(struct model_summary *s, const struct weights *w);

/* Bytes of keys and values at n_ctx tokens, in pages of `page` tokens, as f16 or (q8_0 true) as Q8_0 blocks; 0 when
 * not known or too large for an int64. */
int64_t model_summary_kv_bytes(const struct model_summary *s, int64_t n_ctx, int page, bool q8_0);

#endif
