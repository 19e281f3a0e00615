/* t5.h - the T5 v1.1 encoder of FLUX.
 *
 * Reference: transformers T5EncoderModel. RMS norms, relative position buckets shared from block 0, no 1/sqrt(d), gated
 * tanh-GELU. The FLUX pipelines pass no mask: padding is attended. */
#ifndef HEARTH_IMAGE_T5_H
#define HEARTH_IMAGE_T5_H

#include <jansson.h>

#include "image/nn.h"

struct t5_config {
    int n_vocab, n_layer, n_embd, n_head, head_dim, n_ff, n_bucket, max_distance;
    float eps;
};

bool t5_config_from_json(struct t5_config *c, const json_t *config, struct err *e);
bool t5_config_from_shapes(struct t5_config *c, struct nn_source *s, struct err *e);

struct t5;
bool t5_load(struct t5 **out, const struct t5_config *c, struct nn_source *s, struct err *e);
void t5_free(struct t5 *m);
const struct t5_config *t5_config(const struct t5 *m);
const struct nn_owner *t5_owner(const struct t5 *m);

/* hidden [n, n_embd] of ids [n], after the final norm. */
void t5_encode(const struct t5 *m, struct nn_ctx *c, const int32_t *ids, int n, dev_float *hidden);
size_t t5_scratch(const struct t5 *m, int n); /* bytes */

/* Bucket of the distance key - query (bidirectional): 16 a direction with n_bucket 32, exact below 8, logarithmic above. */
int t5_bucket(int distance, int n_bucket, int max_distance);

#endif
