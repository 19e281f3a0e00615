/* tokenizer_config.h - the small JSON files that lie beside a vocabulary, as transformers writes them. */
#ifndef HEARTH_TEXT_TOKENIZER_CONFIG_H
#define HEARTH_TEXT_TOKENIZER_CONFIG_H

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "format/filemap.h"

/* dir/name; *out is NULL when there is no such file, which is no error. The caller drops the reference. Integers come as
 * reals (files say model_max_length: 1000000000000000019884624838656). */
bool config_read(const char *dir, const char *name, json_t **out, struct err *e);

/* dir/name, mapped; *found is false when there is no such file, which is no error. */
bool config_map(const char *dir, const char *name, struct filemap *m, bool *found, struct err *e);

/* A special token's text: the value is "text" or {"content": "text", ...}. NULL when it is neither. */
const char *config_token(const json_t *value);

/* model_max_length where it is a sane number of tokens, else `fallback`. */
int config_max_length(const json_t *config, int fallback);

#endif
