/* layers.h - what the layers of different families have in common: products and experts prepared from a file's tensors, rotary tables,
 * and routed experts in a forward pass. An engine (decoder.c) joins them.
 *
 * Memory   device layers belong to the network that had them made; norms and frequencies lie in its arena on the device, scales of
 *          weights in the host's.
 * Threads  as the network: one owner, who holds the device. */
#ifndef HEARTH_LM_LAYERS_H
#define HEARTH_LM_LAYERS_H

#include "lm/arch.h"
#include "lm/bind.h"

/* Whoever loads a network. */
struct layer_maker {
    struct device *dev;
    const struct weights *w;
    struct arena *scales;         /* the host's */
    struct device_arena *numbers; /* the device's */
    bool fine;                    /* quantised weights meet more bits of the activations (linear_set_fine) */
    size_t bytes;                 /* of everything made so far */
};

/* One device layer of up to three matrices and their biases (any may be absent; bias NULL: none). The file's pages are given back where
 * the device has copied them. */
bool layers_linear(struct layer_maker *mk, struct linear **out, const struct tensor_slot *const *part,
                   int n_parts, enum linear_join join, const struct tensor_slot *const *bias, struct err *e);

/* The same of gate rows and up rows that lie in one matrix. */
bool layers_halves(struct layer_maker *mk, struct linear **out, const struct tensor_slot *s, struct err *e);

/* Takes a device layer into account that was made elsewhere. */
void layers_made(struct layer_maker *mk, struct linear *l);

/* A norm's weights [n] into *out, on the device; NULL when the slot is empty. from_one: the file holds w of 1 + w. */
bool layers_norm(struct layer_maker *mk, const dev_float **out, const struct tensor_slot *s, bool from_one,
                 struct err *e);
size_t layers_norm_cost(const struct tensor_slot *s); /* memory of that on the device */

/* The frequencies of each rotary embedding of the shape, into freq[n_rope], for a served context of n_ctx tokens. divisor (empty: none) is
 * for the first one. */
bool layers_rope(struct layer_maker *mk, const dev_float **freq, const struct lm_shape *s,
                 const struct tensor_slot *divisor, int n_ctx, struct err *e);
size_t layers_rope_cost(const struct lm_shape *s); /* likewise */

/* The weights of a norm that has none, [head_dim]; NULL where no layer has unit heads. */
bool layers_ones(struct layer_maker *mk, const dev_float **out, const struct lm_shape *s, struct err *e);
size_t layers_ones_cost(const struct lm_shape *s); /* likewise */

/* What q is multiplied by at a position; the reference, too, computes it in f32. */
float layers_temper(const struct lm_temper *t, int32_t pos);

/* What gates a feed-forward, as an epilogue of its PAIRED product. */
enum epilogue layers_gate(enum lm_act act);

/* ---- routed experts ------------------------------------------------------------------------------------------------------ */

/* Where a layer's experts lie: stacked in one tensor [n_expert, out, in] (gate and up apart or together), or one by one. */
struct expert_slots {
    const struct tensor_slot *router, *router_bias;       /* no bias for the choice: an empty slot */
    const struct tensor_slot *router_add;                 /* on the logits; NULL or empty: none */
    const struct tensor_slot *gate_up, *gate, *up, *down; /* stacked; empty slots: one by one */
    const struct tensor_slot *one;                        /* [n_expert][3]: gate, up, down */
    const struct tensor_slot *shared_gate, *shared_up, *shared_down; /* empty: none */
    /* Biases of stacked experts, [n_expert, out]; those of gate and up joined lie as these do. NULL or empty: none. */
    const struct tensor_slot *gate_up_add, *gate_add, *up_add, *down_add;
};

struct experts {
    struct linear *router;                       /* NULL: the layer has no experts */
    struct linear **gate_up, **down;             /* [n_expert], the layer's */
    struct linear *shared_gate_up, *shared_down; /* every row goes through these as well; NULL: none */
    int n_expert, n_used;
    struct lm_routing routing;
    const dev_float *bias; /* [n_expert] for the choice alone; NULL: none */
    bool weight_on_input;
    enum epilogue gate;
    void **
        turned; /* [n_turned] matrices that lay [in, out] (turn.h), where the device reads them and has no copy */
    int n_turned;
};

/* On failure *x is to be freed too. */
bool layers_experts(struct layer_maker *mk, struct experts *x, const struct lm_shape *s,
                    const struct expert_slots *slots, struct err *e);
void layers_experts_free(struct experts *x);

/* What routing takes in memory, the caller's. */
struct routing {
    dev_float *logits; /* [rows, n_expert] */
    dev_float *weight; /* [rows, n_used] */
    dev_int *expert;   /* [rows, n_used] */
    dev_float *hidden; /* [rows, n_ff_shared]; may be logits, which are not needed any more by then */
};

/* y [rows, n_embd] += experts(x [rows, n_embd]). y and x do not overlap. */
void layers_run_experts(struct device *d, const struct experts *x, const dev_float *in, dev_float *y,
                        int64_t rows, int64_t n_embd, const struct routing *r);

#endif
