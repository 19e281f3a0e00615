/* format.h - the values of JSON Schema's `format`, drafts 4 to 2020-12, as languages (rx.h). */
#ifndef HEARTH_TEXT_GRAMMAR_FORMAT_H
#define HEARTH_TEXT_GRAMMAR_FORMAT_H

#include "text/grammar/rx.h"

/* Does a draft define this name? Others are annotations. */
bool format_known(const char *name);
/* *out: texts that surely are of the format (every validator agrees), or with `all` every text that may be: the two differ where
 * standards and validators do. max_len: of the format, in characters; -1: none. */
bool format_texts(struct rx_pool *p, const char *name, bool all, rx *out, int *max_len, struct err *e);

#endif
