/* tokenizer_config.h - the small JSON files that lie beside a vocabulary, as transformers writes them. */
#ifndef HEARTH_TEXT_TOKENIZER_TOKENIZER_CONFIG_H
#define HEARTH_TEXT_TOKENIZER_TOKENIZER_CONFIG_H

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

/* The special tokens by name ({"bos_token": "<s>", ...}, and "extra" with a list of those that have no name) and the added tokens
 * that these files declare, as transformers puts them together: tokenizer_config.json; and, unless it has added_tokens_decoder,
 * special_tokens_map.json, whose names win, and added_tokens.json. `added` is a list of objects like those of tokenizer.json's
 * added_tokens, in order of ids. Both are dropped by the caller, also after failure. */
struct special_tokens {
    json_t *names, *added;
};
bool config_special_tokens(const char *dir, const json_t *config, struct special_tokens *out, struct err *e);

/* model_max_length where it is a sane number of tokens, else `fallback`. */
int config_max_length(const json_t *config, int fallback);

#endif
