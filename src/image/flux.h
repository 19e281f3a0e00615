/* flux.h - the FLUX.1 transformer: dev (guidance embedding) and schnell (none).
 *
 * Reference: diffusers FluxTransformer2DModel and BFL's flux/model.py. Velocity of a rectified flow: noise minus data. */
#ifndef HEARTH_IMAGE_FLUX_H
#define HEARTH_IMAGE_FLUX_H

#include <jansson.h>

#include "image/nn.h"

struct flux_config {
    int in_channels, out_channels; /* of a packed token: latent channels x 2 x 2 */
    int n_double, n_single, n_head, head_dim, n_context /* T5 width */, n_pooled /* CLIP width */;
    int axes[3]; /* rotary channels per axis; their sum is head_dim */
    int n_ff;
    bool guidance;
};

bool flux_config_from_json(struct flux_config *c, const json_t *config, struct err *e);
/* Whether the reference's class has this key, as far as is known here. */
bool flux_config_knows(const char *key);
/* From a BFL-layout file: found by its tensor names. s->locate must be flux_locate_bfl or NULL as for loading. */
bool flux_config_from_shapes(struct flux_config *c, struct nn_source *s, bool bfl, struct err *e);
/* Canonical (diffusers) names to BFL's; arg: the struct flux_config. */
bool flux_locate_bfl(const void *config, const char *name, struct nn_place *out);

struct flux;
bool flux_load(struct flux **out, const struct flux_config *c, struct nn_source *s, struct err *e);
void flux_free(struct flux *m);
const struct flux_config *flux_config(const struct flux *m);
const struct nn_owner *flux_owner(const struct flux *m);

/* One evaluation. x, velocity [grid_h * grid_w, in/out_channels] packed tokens, row major; context [n_text, n_context];
 * pooled [n_pooled]; sigma in 0..1; guidance is ignored by models without its embedding. Returns false when *cancel became
 * true between two blocks (velocity is then unspecified). */
bool flux_forward(const struct flux *m, struct nn_ctx *c, const dev_float *x, int grid_h, int grid_w,
                  const dev_float *context, int n_text, const dev_float *pooled, float sigma, float guidance,
                  dev_float *velocity, const atomic_bool *cancel);
size_t flux_scratch(const struct flux *m, int n_image, int n_text); /* bytes */

#endif
