/* pictures.h - a picture to the square tiles that Llama 4's tower looks at, as its processor cuts them (transformers' Llama4ImageProcessor).
 *
 * A picture is scaled, its form kept, onto the grid of tiles that shrinks it least; what is left of the grid to the right and below is black. Where
 * the grid has more than one tile, the whole picture scaled to one tile, its form not kept, follows as the last one.
 *
 * Exact    tiles are those of the processor to the bit: its sums are of bytes and 16-bit weights, and so are these.
 * Memory   tiles are malloc'ed and the caller's.
 * Threads  any; no state between calls. */
#ifndef HEARTH_LM_PICTURES_H
#define HEARTH_LM_PICTURES_H

#include <jansson.h>

#include "base/err.h"
#include "format/image_file.h"

enum { PICTURE_MAX_TILES = 64 };

struct picture_rules {
    int tile;       /* pixels along an edge */
    int max_tiles;  /* of a grid; the whole picture's tile comes on top */
    bool fill_grid; /* the grid that enlarges most, instead of the one that enlarges least */
    float rescale;  /* of a byte, before mean and std */
    float mean[3], std[3];
};

/* Those of the published models, for tiles of this size. */
struct picture_rules picture_rules_default(int tile);
/* What the model's processor file says (the object of preprocessor_config.json); what is not as this engine does it is an error. */
bool picture_rules_read(struct picture_rules *r, const json_t *o, struct err *e);

struct picture_cut {
    int rows, cols;    /* of the grid; 0: the whole picture's tile alone */
    int height, width; /* of the scaled picture on the grid */
};

/* How a picture of this size is cut. whole: one tile of the whole picture, nothing else. */
struct picture_cut picture_cut(const struct picture_rules *r, int width, int height, bool whole);
int picture_cut_tiles(const struct picture_cut *c);

/* [picture_cut_tiles, 3, tile, tile] bytes, tiles in reading order. px has 3 channels. */
bool picture_tiles(unsigned char **out, const struct picture_rules *r, const struct picture_cut *c,
                   const struct image_pixels *px, struct err *e);

/* One tile as the tower takes it: [3, tile, tile]. The reference computes this in bf16, and so do we. */
void picture_normalise(float *out, const unsigned char *tile, const struct picture_rules *r);

#endif
