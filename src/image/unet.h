/* unet.h - the SDXL UNet and its relatives: base, Playground v2.5, Japanese SDXL, SSD-1B. What differs is read from the
 * configuration (block kinds, transformer depths per block, the middle), nothing is coded per model.
 *
 * Reference: diffusers UNet2DConditionModel with addition_embed_type text_time. */
#ifndef HEARTH_IMAGE_UNET_H
#define HEARTH_IMAGE_UNET_H

#include <jansson.h>

#include "image/nn.h"

enum { UNET_LEVELS = 6, UNET_RES = 6, UNET_SAMPLE = 128 /* latent cells a side that SDXL was trained at */ };

struct unet_config {
    int n_in, n_out, n_level, channels[UNET_LEVELS], n_head[UNET_LEVELS], n_res;
    /* Transformer blocks after each res block; 0: none. Up lists run in the order of the up path (deepest first). */
    int down_depth[UNET_LEVELS][UNET_RES], up_depth[UNET_LEVELS][UNET_RES], mid_depth;
    bool mid; /* false: a single res block in the middle, or (mid_res 0) nothing */
    int mid_res;
    int n_context, n_added,
        n_time_id; /* cross-attention width; width of the added vector; width of one size number's sinusoid */
    int groups;
    float eps;
    int n_sample; /* latent cells a side of the pictures it was trained on: the default size */
};

bool unet_config_from_json(struct unet_config *c, const json_t *config, struct err *e);
/* Whether the reference's class has this key, as far as is known here. */
bool unet_config_knows(const char *key);
/* From a file's shapes, through s->locate (whose argument is c where the layout is LDM's); heads are 64 wide. */
bool unet_config_from_shapes(struct unet_config *c, struct nn_source *s, struct err *e);
/* Canonical (diffusers) names to LDM's (without model.diffusion_model.); arg: the struct unet_config. */
bool unet_locate_ldm(const void *config, const char *name, struct nn_place *out);

struct unet;
bool unet_load(struct unet **out, const struct unet_config *c, struct nn_source *s, struct err *e);
void unet_free(struct unet *m);
const struct unet_config *unet_config(const struct unet *m);
const struct nn_owner *unet_owner(const struct unet *m);

/* One evaluation. x [h, w, n_in], out [h, w, n_out]: pixels first, channels last. context [n_text, n_context]; pooled [n_added -
 * 6 * n_time_id]; time_ids: original height and width, crop top and left, target height and width. h and w must be multiples of
 * 2^(n_level-1). false: *cancel became true between two blocks. */
bool unet_forward(const struct unet *m, struct nn_ctx *c, const dev_float *x, int h, int w, double timestep,
                  const dev_float *context, int n_text, const dev_float *pooled, const float time_ids[6],
                  dev_float *out, const atomic_bool *cancel);
size_t unet_scratch(const struct unet *m, int h, int w, int n_text); /* bytes */

#endif
