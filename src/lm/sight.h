/* sight.h - what a language model that sees makes of pictures: its tower, and how a picture stands in a prompt.
 *
 * Prompt    <|image_start|>, the tiles' rows with separators between them, <|image|>, the rows of the whole picture's tile, <|image_end|>. A row is a
 *           token <|patch|> whose embedding comes from the tower.
 * Names     each picture has a number that no other one has: pictures of equal tiles have the same as long as the model remembers them. The
 *           scheduler has it, negative, in place of the rows' tokens, so that the prefix tree tells pictures apart.
 * Rows      of the tiles looked at last are kept; a tile whose rows are gone is looked at again, with the same result.
 * Memory    the sight's own, from load to free, however many pictures come.
 * Threads   sight_rows() and sight_has() belong to the scheduler's thread; pictures are made and let go by any. */
#ifndef HEARTH_LM_SIGHT_H
#define HEARTH_LM_SIGHT_H

#include "lm/llama4_vision.h"
#include "lm/lm.h"
#include "lm/pictures.h"

struct sight;

/* Whether the weights *w, or a projector's file beside them, have a tower for rows of n_embd numbers: *there; an error where it is not whole or
 * does not fit. Reads no weights. mmproj: that file; NULL: the one in the model's folder, if there is one. */
bool sight_check(const struct weights *w, const char *mmproj, int n_embd, bool *there, struct err *e);

/* *out NULL: the model has none. The device is held; *w may be closed only afterwards, *tok likewise. */
bool sight_load(struct sight **out, const struct weights *w, const char *mmproj, const struct tokenizer *tok,
                int n_embd, struct device *d, struct err *e);
void sight_free(struct sight *s);
size_t sight_bytes(const struct sight *s);
size_t sight_weight_bytes(const struct sight *s); /* of a projector's file of its own */
/* As weights_intact(), for a projector's file of its own. */
bool sight_intact(const struct sight *s, struct err *e);

/* The token that a chat template prints for a picture. */
int32_t sight_mark(const struct sight *s);

/* See lm.h. */
bool sight_picture(struct lm_picture **out, struct sight *s, const struct image_pixels *px, bool whole,
                   struct err *e);

/* What the scheduler has in place of the picture's rows: below LM_ROW_GIVEN. */
int32_t sight_name(const struct lm_picture *p);
void sight_ref(struct lm_picture *p);

/* Which row of which tile the i-th token of the picture is; false: it is a token like others. */
bool sight_place(const struct lm_picture *p, size_t i, int *tile, int *row);

/* Are the tile's rows at hand? */
bool sight_has(const struct sight *s, const struct lm_picture *p, int tile);
/* The tile's rows [n_rows, n_embd], looked at if need be; valid until the next call. The device is held. NULL: the device failed. */
const float *sight_rows(struct sight *s, const struct lm_picture *p, int tile, struct err *e);

#endif
