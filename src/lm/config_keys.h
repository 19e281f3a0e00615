/* config_keys.h - every key of a language model's config.json, and every ARCH.* of a GGUF's metadata, is followed, known to be harmless, or
 * named in the log.
 *
 * What hparams.c and rope_config.c read is followed; what another program reads (training, generation, how Python stores things)
 * is harmless; the rest might change results somewhere, though not in the reference of this family, and is named. */
#ifndef HEARTH_LM_CONFIG_KEYS_H
#define HEARTH_LM_CONFIG_KEYS_H

#include "base/buf.h"
#include "lm/hparams.h"

/* The keys without effect that have a value other than null, false, 0, "" or an empty list, as "a, b, rope_parameters.c"; nothing
 * where there are none. */
void config_keys_unused(struct buf *out, const struct hparam_family *f, const json_t *config);

/* The same of a GGUF's ARCH.* keys. */
void config_keys_unused_gguf(struct buf *out, const struct hparam_family *f, const struct gguf *g);

/* One warning that names them. */
void config_keys_report(const struct hparam_family *f, const struct weights *w);

#endif
