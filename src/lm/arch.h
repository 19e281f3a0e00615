/* arch.h - what a language-model family is to the rest of the engine: a name, a loader, a step.
 *
 * Adding a family: a file with its tables and one `const struct lm_arch`, and one line in families[] of lm.c.
 * Memory   everything of a network lives from load() to free(); a step allocates nothing: its activations are sized
 *          at load from the shape and max_rows.
 * Threads  one owner at a time, who also holds the device's pool. */
#ifndef HEARTH_LM_ARCH_H
#define HEARTH_LM_ARCH_H

#include "base/err.h"
#include "device/device.h"
#include "format/weights.h"
#include "lm/rope_freq.h"

/* The hyper-parameters; filled from the model's metadata by hparams.c, one vocabulary for every family. */
struct lm_shape {
    int n_layer, n_embd, n_head, n_kv_head, head_dim, n_ff, n_vocab, n_ctx_train;
    int n_expert, n_expert_used, n_ff_expert; /* n_expert 0: dense */
    int window;                               /* sliding attention window in tokens; 0: none */
    float eps;
    enum rope_layout rope_layout;
    struct rope_spec rope;
};

/* One step: rows of several sequences. After step(), hidden states of all rows stand in the network until the next. */
struct lm_batch {
    int n_rows;         /* at most max_rows of load() */
    const int32_t *ids; /* [n_rows] token ids, each inside the vocabulary */
    const int32_t *pos; /* [n_rows] absolute positions */
    const struct attn_seq *seq;
    int n_seq;
    enum pool_lane lane; /* whom the step may let in between layers */
};

struct lm_net; /* the family's own */

struct lm_arch {
    const char *name;
    const char *covers; /* the model types of config.json, separated by ", " */
    /* Does this file describe a model of the family? Looks at metadata only. */
    bool (*recognises)(const struct weights *w);
    /* What load() can refuse without reading weights: the configuration, how they are encoded, and every tensor against the shape; all
     * that does not match is reported together. */
    bool (*check)(struct lm_shape *shape, const struct weights *w, struct err *e);
    /* check(), and then memory is reserved. */
    bool (*load)(struct lm_net **out, struct lm_shape *shape, const struct weights *w, struct device *d,
                 int max_rows, struct err *e);
    void (*free)(struct lm_net *n);
    /* kv [n_layer]: where keys and values of each layer are kept. */
    void (*step)(struct lm_net *n, const struct lm_batch *b, const struct kv_layer *kv);
    /* Logits [n, n_vocab] of rows `row[i]` of the last step; n at most max_rows. */
    void (*head)(struct lm_net *n, const int32_t *row, int n_out, float *logits);
    /* Memory the network holds beside the file's mapping, and bytes of the mapping still read. */
    size_t (*bytes)(const struct lm_net *n);
};

extern const struct lm_arch lm_arch_llama, lm_arch_qwen;

#endif
