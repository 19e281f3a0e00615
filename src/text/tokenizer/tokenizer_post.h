/* tokenizer_post.h - the post_processor of a tokenizer.json: the special tokens that it puts around a text. */
#ifndef HEARTH_TEXT_TOKENIZER_TOKENIZER_POST_H
#define HEARTH_TEXT_TOKENIZER_TOKENIZER_POST_H

#include "text/tokenizer/tokenizer_internal.h"

/* Sets t->first and t->last, whose ids must be of the vocabulary. Kinds that are not known are refused by name; NULL is none. */
bool tokenizer_post_read(struct tokenizer *t, const json_t *v, struct err *e);

#endif
