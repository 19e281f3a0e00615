/* tokenizer_json.h - the content of a tokenizer.json: a pure function over bytes, also what the fuzzer calls. */
#ifndef HEARTH_TEXT_TOKENIZER_TOKENIZER_JSON_H
#define HEARTH_TEXT_TOKENIZER_TOKENIZER_JSON_H

#include <jansson.h>

#include "text/tokenizer/tokenizer_internal.h"

/* Everything but what tokenizer_finish() does. What the file asks for and is not offered here is refused by name. `beside`: NULL or the
 * tokens that the files beside it declare. */
bool tokenizer_from_json(struct tokenizer **out, const char *text, size_t len,
                         const struct special_tokens *beside, struct err *e);

/* Likewise out of BERT's vocab.txt, a piece a line. config: tokenizer_config.json, which says how the text is normalised; NULL: as BERT
 * without capitals and accents. */
bool tokenizer_from_vocab_txt(struct tokenizer **out, const char *text, size_t len, const json_t *config,
                              const struct special_tokens *beside, struct err *e);

#endif
