/* clip_tokenizer.h - the tokenizer of CLIP text encoders: lower-cased, white space folded, byte-level BPE with "</w>" at word ends.
 *
 * Equal to transformers' CLIPTokenizerFast. Threads: read-only after loading. */
#ifndef HEARTH_TEXT_TOKENIZER_CLIP_TOKENIZER_H
#define HEARTH_TEXT_TOKENIZER_CLIP_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "text/tokenizer/tokenizer.h"

struct clip_tokenizer;

/* dir holds vocab.json and merges.txt, or tokenizer.json; tokenizer_config.json and special_tokens_map.json name the special tokens
 * (defaults: <|startoftext|>, <|endoftext|>, padding with the end token). */
bool clip_tokenizer_load(struct clip_tokenizer **out, const char *dir, struct err *e);
void clip_tokenizer_free(struct clip_tokenizer *t);

int32_t clip_tokenizer_start(const struct clip_tokenizer *t);
int32_t clip_tokenizer_end(const struct clip_tokenizer *t);
int32_t clip_tokenizer_pad(const struct clip_tokenizer *t);
int clip_tokenizer_max(const struct clip_tokenizer *t); /* model_max_length, 77 when the files are silent */

/* ids[n]: start, the text's tokens cut to n - 2, end, then padding. *used (may be NULL): tokens of the whole text, uncut, without start and
 * end. Invalid UTF-8 counts as U+FFFD. */
bool clip_tokenizer_encode(const struct clip_tokenizer *t, const char *text, size_t len, int32_t *ids, int n,
                           size_t *used, struct err *e);

#endif
