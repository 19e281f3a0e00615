/* words.h - "a|b|c": the words that a value may be, as a table's column has them. */
#ifndef HEARTH_BASE_WORDS_H
#define HEARTH_BASE_WORDS_H

#include <stdbool.h>

/* Whether s is one of `words` (NULL: there are none); *index (may be NULL) counts them from 0. The empty string is no word. */
bool words_have(const char *words, const char *s, int *index);

#endif
