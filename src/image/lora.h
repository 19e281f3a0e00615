/* lora.h - low-rank adapters as side branches: y += weight * (alpha / rank) * B (A x).
 *
 * Formats   kohya (lora_unet_*, lora_te1_*, lora_te2_*; .lora_down .lora_up .alpha) and diffusers/PEFT (transformer.*, unet.*,
 *           text_encoder.*; .lora_A .lora_B), FLUX in BFL and diffusers names, SDXL in LDM and diffusers names. Fused BFL
 *           rows (qkv, linear1) are split over the canonical layers. LyCORIS, DoRA and convolution adapters are refused, and so is
 *           a file with any module that no network has (an SDXL adapter on SSD-1B), with other shapes or with NaN.
 * Lifetime  an adapter points into the networks it was made for and must be freed before them.
 * Threads   read-only after loading. */
#ifndef HEARTH_IMAGE_LORA_H
#define HEARTH_IMAGE_LORA_H

#include "image/nn.h"

/* One network that an adapter may address. Prefix lists end with NULL. */
struct nn_lora_target {
    const struct nn_owner *owner;
    const char *const *dot_prefix;  /* "transformer.", "unet.": before dotted canonical (or original) names */
    const char *const *flat_prefix; /* "lora_unet_": before names flattened with underscores */
    nn_locate_fn locate; /* canonical name -> original name and rows, for adapters in original names */
    const void *locate_arg;
};

bool nn_lora_load(struct nn_lora **out, struct device *dev, const char *path,
                  const struct nn_lora_target *target, int n_target, struct err *e);
void nn_lora_free(struct nn_lora *l);
int nn_lora_applied(const struct nn_lora *l); /* modules */

struct nn_lora_branch {
    struct linear *a, *b; /* [rank, n_in] and [rows, rank] */
    int64_t row0, rows;   /* of the layer's output */
    int rank;
    float scale; /* alpha / rank */
    struct nn_lora_branch *next;
};
/* Branches on one layer of a network; NULL: none. */
const struct nn_lora_branch *nn_lora_branches(const struct nn_lora *l, const struct nn_owner *o,
                                              int linear_id);

#endif
