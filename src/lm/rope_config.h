/* rope_config.h - the rotary embedding that a model's files describe, as the reference reads them.
 *
 * config.json  {rope_scaling} where it is there and not empty, else {rope_parameters}: what is in neither counts as absent, so a
 *              rope_theta in a passed-over rope_parameters does not count (transformers: modeling_rope_utils). rope_theta may stand
 *              beside them instead. Parameters by kind of layer are read where all kinds have the same.
 * GGUF         llama.cpp's keys ARCH.rope.* and their defaults. */
#ifndef HEARTH_LM_ROPE_CONFIG_H
#define HEARTH_LM_ROPE_CONFIG_H

#include <jansson.h>

#include "base/buf.h"
#include "format/gguf.h"
#include "lm/arch.h"

/* Both fill s->rope from head_dim and n_ctx_train, which stand in *s, and add what is wrong to `bad`, each fault ended by "; ".
 * theta: the family's base where the file names none. */
void rope_from_gguf(struct lm_shape *s, const struct gguf *g, const char *arch, struct buf *bad);
void rope_from_config(struct lm_shape *s, const json_t *config, double theta, struct buf *bad);
/* Ranges. */
void rope_check(const struct lm_shape *s, struct buf *bad);

/* The object of config.json that counts, or NULL. */
const json_t *rope_config(const json_t *config);

/* ARCH.KEY as a number; false: absent. A list of equal numbers counts as that number, another value as NaN. */
bool rope_gguf_number(const struct gguf *g, const char *arch, const char *key, double *out);

#endif
