/* hparams.h - a model's hyper-parameters, from GGUF metadata or a Hugging Face config.json.
 *
 * A family lists what it needs in a table; hparams_read() walks it, checks ranges and reports everything that is
 * missing or out of range in one error. Older and newer key styles of config.json are both understood. */
#ifndef HEARTH_LM_HPARAMS_H
#define HEARTH_LM_HPARAMS_H

#include "format/gguf.h"
#include "lm/arch.h"

struct hparam_spec {
    const char *gguf; /* key after "ARCH.", or NULL */
    const char *hf;   /* key of config.json (or of its text_config), or two as "a|b", or NULL */
    size_t field;     /* offsetof in struct lm_shape, an int */
    int64_t min, max;
    int64_t fallback; /* HPARAM_NEEDED: an error when absent */
};
#define HPARAM_NEEDED INT64_MIN

/* What every family of decoders has: layers, widths, heads, context, eps, rotary embedding with its scaling. */
bool hparams_read(struct lm_shape *s, const struct weights *w, const struct hparam_spec *more, int n_more,
                  struct err *e);

/* The sliding window of layer `il`, 0 for none: Mistral's holds for all layers; others (`opt_in`, Qwen) have one only where
 * the configuration switches it on, for the layers it lists or those from max_window_layers on. */
int hparams_window(const struct lm_shape *s, const struct weights *w, bool opt_in, int il);

/* config.json's object that holds the text model; NULL for GGUF. */
const json_t *hparams_config(const struct weights *w);
/* Is this GGUF general.architecture `gguf` (may be NULL), or a config.json with model_type `hf`? */
bool hparams_is(const struct weights *w, const char *gguf, const char *hf);

#endif
