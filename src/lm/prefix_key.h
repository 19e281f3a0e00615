/* prefix_key.h - what decides the bytes of a page of keys and values, as one hash: the model's configuration and weights, how the cache is kept, the
 * context that is served, the instruction sets, and this program's version. Pages of one key are interchangeable; of two they never meet.
 *
 * Weights are not read through: a few kilobytes of every tensor stand for it, and the size and time of each file for the rest. */
#ifndef HEARTH_LM_PREFIX_KEY_H
#define HEARTH_LM_PREFIX_KEY_H

#include "lm/kvcache.h"
#include "lm/prefix_store.h"

void prefix_key(unsigned char key[PREFIX_HASH], const struct weights *w, const char *path, enum kv_type type,
                size_t page_bytes, int n_ctx, unsigned isa);

#endif
