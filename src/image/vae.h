/* vae.h - the LDM autoencoder of both families: 4 latent channels (SDXL) or 16 (FLUX), factor 8.
 *
 * Reference: diffusers AutoencoderKL. Pictures are [h, w, 3] f32 in -1..1, latents [c, h/8, w/8] f32 as pipelines hold them
 * (channel-first), not yet scaled or shifted: that is done here with the file's scaling_factor and shift_factor. */
#ifndef HEARTH_IMAGE_VAE_H
#define HEARTH_IMAGE_VAE_H

#include <jansson.h>

#include "image/nn.h"

#define VAE_MAX_LEVELS 8
#define VAE_MAX_LATENT 32

struct vae_config {
    int n_latent, n_level, channels[VAE_MAX_LEVELS],
        n_res; /* res blocks a level in the encoder; the decoder has one more */
    int groups;
    bool quant_conv, post_quant_conv, mid_attention;
    float scaling, shift;
    bool has_stats; /* Playground v2.5: latents_mean and latents_std */
    float mean[VAE_MAX_LATENT], std[VAE_MAX_LATENT];
};

bool vae_config_from_json(struct vae_config *c, const json_t *config, struct err *e);
/* Whether the reference's class has this key, as far as is known here. */
bool vae_config_knows(const char *key);
/* Without a config, through s->locate: widths from the shapes; 16 latent channels mean FLUX's factors, 4 SDXL's. */
bool vae_config_from_shapes(struct vae_config *c, struct nn_source *s, struct err *e);
/* Canonical names as files have them that were saved before the attention's parts were renamed (query, key, value, proj_attn); arg:
 * the struct nn_source itself. */
bool vae_locate_diffusers(const void *source, const char *name, struct nn_place *out);
/* Canonical (diffusers) names to LDM's; arg: the struct vae_config. */
bool vae_locate_ldm(const void *config, const char *name, struct nn_place *out);

struct vae;
bool vae_load(struct vae **out, const struct vae_config *c, struct nn_source *s, struct err *e);
void vae_free(struct vae *m);
const struct vae_config *vae_config(const struct vae *m);
int vae_factor(const struct vae *m); /* pixels a latent cell: 8 with four levels */

/* latent [n_latent, h, w] -> picture [h*factor, w*factor, 3]. tile: latent cells a side of a tile (0: the whole at once); tiles
 * overlap by a quarter and are blended linearly, which is approximate because group norms see one tile. Activations are
 * allocated for the call. false: no memory, or cancelled. */
bool vae_decode(const struct vae *m, struct device *d, const dev_float *latent, int h, int w, int tile,
                dev_float *picture, const atomic_bool *cancel, struct err *e);
/* picture [h, w, 3], h and w multiples of the factor -> latent [n_latent, h/factor, w/factor]: the mean of the posterior, or with
 * noise (same shape) a sample mean + std * noise. */
bool vae_encode(const struct vae *m, struct device *d, const dev_float *picture, int h, int w,
                const dev_float *noise, dev_float *latent, const atomic_bool *cancel, struct err *e);

#endif
