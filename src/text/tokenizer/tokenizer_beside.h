/* tokenizer_beside.h - added tokens of a tokenizer.json, together with those that only the files beside it declare. */
#ifndef HEARTH_TEXT_TOKENIZER_TOKENIZER_BESIDE_H
#define HEARTH_TEXT_TOKENIZER_TOKENIZER_BESIDE_H

#include "text/tokenizer/tokenizer_config.h"
#include "text/tokenizer/tokenizer_file.h"

/* *out: one list, the caller's (also after failure), of objects like those of the file's added_tokens. Of the same content the settings beside
 * the file count and the id in it; a piece of the vocabulary keeps its id; any other has the id that is declared. Named tokens that are
 * pieces are added tokens too. `beside`: NULL for none. */
bool tokenizer_beside_merge(const struct tokenizer_file *f, const struct special_tokens *beside, json_t **out,
                            struct err *e);

#endif
