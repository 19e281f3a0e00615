/* t5_normalizer.h - what a T5 tokenizer's file does to a text before it is cut: the normalizer of tokenizer.json, step by step.
 *
 * Equal to the tokenizers library. A step that is not known here refuses the file by its name: passed over, it would give other
 * tokens for the same text. Threads: read-only after reading. */
#ifndef HEARTH_TEXT_TOKENIZER_T5_NORMALIZER_H
#define HEARTH_TEXT_TOKENIZER_T5_NORMALIZER_H

#include <jansson.h>

#include "base/err.h"
#include "text/tokenizer/spm_charsmap.h"
#include "text/unicode.h"

enum { T5_NORMALIZER_STEPS = 16 };

struct t5_step;
struct t5_normalizer {
    struct t5_step *step[T5_NORMALIZER_STEPS];
    int n;
};

/* The normalizer of a tokenizer.json (NULL or null: none). What was read before a failure is freed with the rest. */
bool t5_normalizer_read(struct t5_normalizer *n, const json_t *normalizer, struct err *e);
/* One step: a character map out of a SentencePiece model, borrowed. */
bool t5_normalizer_map(struct t5_normalizer *n, const uint8_t *map, size_t len, struct err *e);
void t5_normalizer_free(struct t5_normalizer *n);

/* out = s [len], valid UTF-8, after all steps. */
bool t5_normalizer_apply(const struct t5_normalizer *n, const struct unicode *u, const char *s, size_t len,
                         struct masked *out, struct err *e);

#endif
