/* ecma.h - regular expressions of ECMA-262 (with the u flag's meaning of characters and Annex B's leniency), as languages (rx.h).
 *
 * Understood  alternatives, groups of every kind, counted repetition (lazy or not is the same language), classes, escapes, \p{...},
 *             anchors where they can hold, lookahead, word boundaries between characters that are known.
 * Refused     back references, lookbehind, lookahead repeated without end (but for the common (?:(?!x).)*$), escapes that no ECMA
 *             engine knows: ERR_UNSUPPORTED or ERR_REQUEST, with the place. */
#ifndef HEARTH_TEXT_GRAMMAR_ECMA_H
#define HEARTH_TEXT_GRAMMAR_ECMA_H

#include "text/grammar/rx.h"

/* *out: the texts in which the pattern is found somewhere, as JSON Schema's `pattern` asks. All of them are valid UTF-8. */
bool ecma_search(struct rx_pool *p, const char *pattern, size_t n, rx *out, struct err *e);
/* *out: the texts that the pattern matches as a whole. */
bool ecma_whole(struct rx_pool *p, const char *pattern, size_t n, rx *out, struct err *e);

#endif
