/* rope_config.h - the rotary embedding that a model's files describe, as the reference reads them.
 *
 * config.json  {rope_scaling} where it is there and not empty, else {rope_parameters}: what is in neither counts as absent, so a
 *              rope_theta in a passed-over rope_parameters does not count (transformers: modeling_rope_utils). rope_theta may stand
 *              beside them instead. Parameters by kind of layer (an object for each of full_attention, sliding_attention) are read where
 *              all kinds have the same, or where the family's layers with a window have a rotary embedding of their own; then
 *              rope_scaling is added to those of full_attention, and rope_local_base_freq may name the other base.
 * GGUF         llama.cpp's keys ARCH.rope.* and their defaults. */
#ifndef HEARTH_LM_ROPE_CONFIG_H
#define HEARTH_LM_ROPE_CONFIG_H

#include <jansson.h>

#include "base/buf.h"
#include "format/gguf.h"
#include "lm/arch.h"

/* What a family takes where the file says nothing. */
struct rope_absent {
    double theta;
    double theta_local; /* that of layers with a window, rope[1]; 0: all layers have rope[0] */
    double part;        /* of a head that rotates; 0: whole heads, whatever partial_rotary_factor says */
};

/* Both fill s->rope and s->n_rope from head_dim and n_ctx_train, which stand in *s, and add what is wrong to `bad`, each fault ended by
 * "; ". Lists of divisors that a GGUF file has as tensors are taken by rope_take_lists(), which follows. */
void rope_from_gguf(struct lm_shape *s, const struct gguf *g, const char *arch,
                    const struct rope_absent *absent, struct buf *bad);
void rope_from_config(struct lm_shape *s, const json_t *config, const struct rope_absent *absent,
                      struct buf *bad);
/* near, far [n]: both NULL where the file has none, which is a fault of a GGUF file that names such a scaling. */
bool rope_take_lists(struct rope_spec *r, const float *near, const float *far, int64_t n);
/* Ranges. */
void rope_check(const struct lm_shape *s, struct buf *bad);

/* The object of config.json that counts, or NULL. */
const json_t *rope_config(const json_t *config);

/* ARCH.KEY as a number; false: absent. A list of equal numbers counts as that number, another value as NaN. */
bool rope_gguf_number(const struct gguf *g, const char *arch, const char *key, double *out);

#endif
