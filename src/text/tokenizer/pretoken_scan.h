/* pretoken_scan.h - the patterns of published tokenizers as hand-written scanners.
 *
 * A scanner finds the leftmost match in s[i..n), s being valid UTF-8 of which s[n] is the end: false when there is
 * none, else its borders. It answers as a backtracking regex engine would on the same pattern and the same substring.
 * Threads  pure functions. */
#ifndef HEARTH_TEXT_TOKENIZER_PRETOKEN_SCAN_H
#define HEARTH_TEXT_TOKENIZER_PRETOKEN_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "text/unicode.h"

struct span {
    size_t start, end;
};
typedef bool (*scan_fn)(const struct unicode *u, const unsigned char *s, size_t i, size_t n,
                        struct span *out);

/* The scanner for a pattern, compared by its text; NULL when there is none. */
scan_fn scan_find(const char *pattern, size_t len);

/* Patterns with a scanner, for the tests and for the table of names. */
extern const char scan_pattern_gpt2[], scan_pattern_llama3[], scan_pattern_qwen2[], scan_pattern_o200k[],
    scan_pattern_deepseek[], scan_pattern_numbers3[], scan_pattern_clip[], scan_pattern_number[],
    scan_pattern_cjk[];

#endif
