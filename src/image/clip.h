/* clip.h - CLIP text encoders: CLIP-L (FLUX, SDXL) and OpenCLIP bigG (SDXL's second).
 *
 * Reference: transformers CLIPTextModel and CLIPTextModelWithProjection. Pre-LN, causal, learned positions. */
#ifndef HEARTH_IMAGE_CLIP_H
#define HEARTH_IMAGE_CLIP_H

#include <jansson.h>

#include "image/nn.h"

struct clip_config {
    int n_vocab, n_pos, n_layer, n_embd, n_head, n_ff, n_proj; /* n_proj 0: no projection */
    bool quick_gelu;
    float eps;
    int eos_id; /* the pooled row is that of the first eos_id; 2 (old configurations): of the highest id */
};

/* From a transformers config.json. class: what model_index.json names, which decides on the projection; NULL: what the file says. */
bool clip_config_from_json(struct clip_config *c, const json_t *config, const char *class, struct err *e);
/* From the tensors of a file without a config: widths are read off the shapes, heads are 64 wide. */
bool clip_config_from_shapes(struct clip_config *c, struct nn_source *s, struct err *e);
/* Canonical names to OpenCLIP's (conditioner.embedders.1.model.*); arg: the struct clip_config. */
bool clip_locate_openclip(const void *config, const char *name, struct nn_place *out);

struct clip;
bool clip_load(struct clip **out, const struct clip_config *c, struct nn_source *s, struct err *e);
void clip_free(struct clip *m);
const struct clip_config *clip_config(const struct clip *m);
const struct nn_owner *clip_owner(const struct clip *m);

/* ids [n], n <= n_pos. hidden [n, n_embd]: output of layer n_layer - skip without the final norm (skip 1: the penultimate), NULL:
 * not wanted; skip 0 gives the last layer with the final norm. pooled [n_proj or n_embd]: final norm (and projection) of the row of the
 * end token, NULL: not wanted. */
void clip_encode(const struct clip *m, struct nn_ctx *c, const int32_t *ids, int n, int skip,
                 dev_float *hidden, dev_float *pooled);
size_t clip_scratch(const struct clip *m, int n); /* bytes */

#endif
