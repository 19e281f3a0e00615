/* arch.h - what a language-model family is to the rest of the engine: a row of lm_families[], and the engine that computes it.
 *
 * Adding a family: a file with its tables and one `const struct lm_arch`, and one line in families.c.
 * Memory   everything of a network lives from load() to free(); a step allocates nothing: its activations are sized
 *          at load from the shape and max_rows.
 * Threads  one owner at a time, who holds the device. */
#ifndef HEARTH_LM_ARCH_H
#define HEARTH_LM_ARCH_H

#include "base/err.h"
#include "device/device.h"
#include "format/weights.h"
#include "lm/rope_freq.h"

/* Layers a model may have (the deepest published has 126), and rotary embeddings that its layers may choose from. */
enum { LM_MAX_LAYER = 512, LM_MAX_ROPE = 2 };

/* What one layer has of its own. */
struct lm_layer_shape {
    int window;       /* sliding attention window in tokens; 0: none */
    int chunk;        /* it sees only positions of the same chunk of so many; 0: no chunks */
    int rope;         /* which of lm_shape.rope; -1: q and k are not rotated */
    float attn_scale; /* multiplies q.k */
    bool routed;      /* experts, chosen by a router; else one dense feed-forward */
    bool
        unit_heads; /* heads of q and k get a mean square of 1 after the rotation, without weights (Llama 4) */
    bool tempered;  /* q is multiplied by what lm_temper says of its position */
};

/* What gates the feed-forward: act(gate) * up; CLIPPED: EPI_CLIPGLU. */
enum lm_act { ACT_SILU, ACT_GELU_TANH, ACT_GELU_ERF, ACT_CLIPPED };

/* Queries far into a text see sharper: q is multiplied by 1 + scale * log(1 + floor((pos + 1) / every)); from_zero: pos / every. */
struct lm_temper {
    float scale, every; /* every 0: nothing */
    bool from_zero;
};

/* How a row's experts are chosen and weighed: fields of struct route_args. */
struct lm_routing {
    enum route_kind kind;
    bool renorm;
    bool biased; /* the file has a bias for each expert */
    int n_group, n_group_used, group_best;
    float scale;
};

/* Multi-head latent attention (mla.h): ranks of q and of k and v, and what a head's channels are. kv_rank 0: there is none; q_rank 0: q comes
 * of the row itself. */
struct lm_latent {
    int q_rank, kv_rank;
    int nope, rope, v; /* channels of q and k that do not rotate and that do, and of v */
};

/* The hyper-parameters; filled from the model's metadata by hparams.c and the family's hook, one vocabulary for every family. */
struct lm_shape {
    int n_layer, n_embd, n_head, n_kv_head, head_dim, n_ff, n_vocab, n_ctx_train;
    int k_dim,
        v_dim; /* channels of a key and of a value in the cache; head_dim unless the family's hook says otherwise */
    bool v_in_k; /* a value is the first v_dim channels of its key (multi-head latent attention) */
    struct lm_latent latent;
    int n_guess_layer; /* layers behind the last one, which guess further tokens and are passed over */
    int n_expert, n_expert_used, n_ff_expert; /* n_expert 0: dense */
    int n_ff_shared; /* width of the experts that every row goes through together; 0: none */
    bool head_norms; /* the file must have norms over heads of q and k, which are optional in the family */
    bool weight_on_input; /* an expert's weight multiplies what goes in, not what comes out */
    struct lm_temper temper;
    struct lm_routing routing;
    float eps;
    float embd_scale; /* multiplies the embedding of a token; 1: nothing */
    enum lm_act act;
    enum rope_layout rope_layout;
    struct rope_spec rope[LM_MAX_ROPE];
    int n_rope;
    struct lm_layer_shape layer[LM_MAX_LAYER];
};

/* In place of a token's id: the row's embedding is given. */
enum { LM_ROW_GIVEN = -1 };

/* One sequence's part of a step: rows [row, row+n) are its tokens at positions pos0..; page[i] is the page of its tokens
 * i*KV_PAGE.., -1 where no layer of the group looks any more. */
struct lm_seq {
    int64_t row, n;
    int32_t pos0;
    int32_t
        second; /* of a pair of texts: which of these tokens the second one begins with; 0: there is one */
    const int32_t *page;
};

/* One step, all of it the host's: rows of several sequences. After step(), hidden states of all rows stand in the network until the next. */
struct lm_batch {
    int n_rows;         /* at most max_rows of load() */
    const int32_t *ids; /* [n_rows] token ids, each inside the vocabulary, or LM_ROW_GIVEN */
    const float *
        embd; /* [n_rows, n_embd] what stands for the embedding, as scaled, where the id is LM_ROW_GIVEN; NULL: nowhere */
    const int32_t *pos;       /* [n_rows] absolute positions */
    const struct lm_seq *seq; /* [n_group][n_seq]: the same rows, with each group's own pages */
    int n_seq;
    const short *group;  /* [n_layer] which group a layer's pages are of (kvplan.h); NULL: all of the first */
    enum pool_lane lane; /* whom the step may let in between layers */
};

struct lm_net; /* the engine's own */
struct lm_arch;
struct hparam_family;
struct decoder_family;

/* A way of computing that families share; it reads a family's tables. */
struct lm_engine {
    /* Every token sees those behind it too: a text goes through in one step, nothing of it is kept, and no token follows it: there is no
     * head(). */
    bool whole;
    /* What load() can refuse without reading weights: the configuration, how they are encoded, and every tensor against the shape; all
     * that does not match is reported together. */
    bool (*check)(const struct lm_arch *a, struct lm_shape *shape, const struct weights *w, struct err *e);
    /* check(), and then memory is reserved. n_ctx: the context that is served (0: as lm_options has it),
     * for rotary embeddings that depend on it (rope_freq.h). */
    bool (*load)(const struct lm_arch *a, struct lm_net **out, struct lm_shape *shape,
                 const struct weights *w, struct device *d, int max_rows, int n_ctx, struct err *e);
    void (*free)(struct lm_net *n);
    /* kv [n_layer]: where keys and values of each layer are kept. */
    bool (*step)(struct lm_net *n, const struct lm_batch *b, const struct kv_layer *kv, struct err *e);
    /* Logits [n, n_vocab] of rows `row[i]` of the last step; n at most max_rows. Both wait: false: the device failed, and what it
     * computed is worth nothing; the next step begins anew. */
    bool (*head)(struct lm_net *n, const int32_t *row, int n_out, dev_float *logits, struct err *e);
    /* What the head reads: hidden states of such rows behind the last norm, for the host, [n, n_embd] into `out`. Waits, as head() does. */
    bool (*hidden)(struct lm_net *n, const int32_t *row, int n_out, float *out, struct err *e);
    /* Memory the network holds beside the file's mapping, and bytes of the mapping still read. */
    size_t (*bytes)(const struct lm_net *n);
};

struct lm_arch {
    const char *name;
    const struct hparam_family *member; /* the model types it covers */
    int n_members;
    const struct lm_engine *engine;
    const struct decoder_family *decoder; /* its tables, for decoder_engine */
    bool sees; /* a model may have a tower for pictures (sight.h); the engine takes rows that are given */
};

/* Every family, in families.c. */
extern const struct lm_arch *const lm_families[];
extern const int lm_n_families;

#endif
