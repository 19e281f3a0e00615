/* lora_peft.h - what PEFT says of an adapter: rank, alpha and the exceptions from both, from the note that diffusers writes into the file
 * ("lora_adapter_metadata", keys behind the network's name) or from adapter_config.json beside it.
 *
 * Patterns  a key of alpha_pattern or rank_pattern is a regular expression; it fits a module whose name in its network matches
 *           "(.*\.)?(KEY)$" from the beginning. The first that fits counts (peft.utils.other.get_pattern_key).
 * Keys      each is followed, known to be of no consequence for drawing, refused by name, or, when nobody knows it, logged.
 * Threads   one owner. */
#ifndef HEARTH_IMAGE_LORA_PEFT_H
#define HEARTH_IMAGE_LORA_PEFT_H

#include "format/weights.h"

struct lora_peft;

/* *out NULL: nothing is said. file: the adapter's name, for messages. */
bool lora_peft_read(struct lora_peft **out, const struct weights *w, const char *file, struct err *e);
void lora_peft_free(struct lora_peft *p);

/* Factor of B A for a module as the file names it, with matrices of this rank; alpha: the module's own tensor, NULL when it has none. A rank
 * that is not the one PEFT wrote down is an error. p may be NULL. */
bool lora_peft_scale(const struct lora_peft *p, const char *module, int64_t rank, const float *alpha,
                     float *out, struct err *e);

#endif
