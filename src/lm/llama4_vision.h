/* llama4_vision.h - the tower and projector of Llama 4: a square tile of a picture to rows that stand for the embeddings of its tokens.
 *
 *   x  = norm(patches(tile) | class) + positions          patches in reading order, the class last
 *   x += out(attention(rope(qkv(norm(x)))))               every patch sees every other; pairs of channels turn by column, then by row
 *   x += fc2(gelu(fc1(norm(x))))
 *   rows = projector(gelu(fc2(gelu(fc1(shuffle(norm(x)))))))    a row for each square of shuffle x shuffle patches; the class is dropped
 *
 * Memory   the tower's own, from load to free; a run takes none.
 * Threads  one owner at a time, who holds the device. */
#ifndef HEARTH_LM_LLAMA4_VISION_H
#define HEARTH_LM_LLAMA4_VISION_H

#include "device/device.h"
#include "format/weights.h"

struct llama4_vision_shape {
    int image, patch, n_channels; /* a tile is [n_channels, image, image] */
    int side;                     /* patches along an edge */
    int n_layer, n_embd, n_head, n_ff;
    int shuffle;        /* patches along the edge of a row's square */
    int n_inner;        /* width of the adapter */
    int n_rows, n_text; /* a tile's rows, and how wide they are: the language model's n_embd */
    double theta;       /* of the rotation */
};

struct llama4_vision;

/* What config.json says of the tower, or a projector's file in GGUF ("mmproj", as llama.cpp writes it); an error where it has none, and for sizes
 * that do not go together. Reads no weights. */
bool llama4_vision_read(struct llama4_vision_shape *s, const struct weights *w, struct err *e);
/* Is this a projector's file of this kind? */
bool llama4_vision_is(const struct weights *w);
/* llama4_vision_read(), and whether every tensor is there in its shape. */
bool llama4_vision_check(struct llama4_vision_shape *s, const struct weights *w, struct err *e);

/* The device is held. *w may be closed only after the tower. */
bool llama4_vision_load(struct llama4_vision **out, const struct weights *w, struct device *d, struct err *e);
void llama4_vision_free(struct llama4_vision *v);
const struct llama4_vision_shape *llama4_vision_shape(const struct llama4_vision *v);
size_t llama4_vision_bytes(const struct llama4_vision *v);

/* rows [n_rows, n_text] of one tile, whose values are normalised as the processor does; both the host's. Waits. */
bool llama4_vision_run(struct llama4_vision *v, const float *tile, float *rows, struct err *e);

#endif
