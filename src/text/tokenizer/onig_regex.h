/* onig_regex.h - a regular expression of Oniguruma's Ruby syntax, in which tokenizer.json files are written (the tokenizers library
 * compiles them so), as one of PCRE2 (UTF, UCP) that finds the same.
 *
 * What differs   classes nest and intersect; {m,n}+ repeats and is not possessive, {m}? is an optional {m}; ^ and $ are at every line;
 *                \w \b \d \s \h and [:names:] mean what Oniguruma's tables say (marks are parts of words); (?m) lets a dot match line
 *                ends, and (?i) in the middle of a group takes the alternatives behind it along; \uHHHH, \xHH bytes; \pL is no property.
 * Refused        with its name and place: what PCRE2 cannot say the same (absent groups, text boundaries \y), and what is an error in
 *                Oniguruma.
 * Threads        a pure function. */
#ifndef HEARTH_TEXT_TOKENIZER_ONIG_REGEX_H
#define HEARTH_TEXT_TOKENIZER_ONIG_REGEX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

/* Appends the translation of pattern[len] (valid UTF-8) to *out. */
bool onig_regex_translate(const char *pattern, size_t len, struct buf *out, struct err *e);

#endif
