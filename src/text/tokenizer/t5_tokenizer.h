/* t5_tokenizer.h - the tokenizer of T5 encoders: SentencePiece unigram, best segmentation by summed log-probability.
 *
 * Equal to transformers' T5TokenizerFast. Threads: read-only after loading. */
#ifndef HEARTH_TEXT_TOKENIZER_T5_TOKENIZER_H
#define HEARTH_TEXT_TOKENIZER_T5_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "text/tokenizer/tokenizer.h"

struct t5_tokenizer;

/* dir holds tokenizer.json or spiece.model. */
bool t5_tokenizer_load(struct t5_tokenizer **out, const char *dir, struct err *e);
void t5_tokenizer_free(struct t5_tokenizer *t);

int t5_tokenizer_max(
    const struct t5_tokenizer *t); /* model_max_length of tokenizer_config.json, 512 when it is silent */

/* ids[n]: the text's tokens cut to n - 1, the end token, then padding. *used (may be NULL): tokens of the whole text, uncut, without
 * the end. Invalid UTF-8 counts as U+FFFD. */
bool t5_tokenizer_encode(const struct t5_tokenizer *t, const char *text, size_t len, int32_t *ids, int n,
                         size_t *used, struct err *e);

#endif
