/* spm_charsmap.h - SentencePiece's precompiled character map (nmt_nfkc and such): what a character becomes before splitting.
 *
 * Format   u32 size of a trie; the trie, a double array as darts-clone writes it, of little-endian u32; then the texts it points
 *          into, each ended by NUL. The trie's keys are UTF-8.
 * Threads  read-only. */
#ifndef HEARTH_TEXT_TOKENIZER_SPM_CHARSMAP_H
#define HEARTH_TEXT_TOKENIZER_SPM_CHARSMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "text/unicode.h"

struct spm_charsmap {
    const uint8_t *trie; /* borrowed */
    size_t units;
    const char *texts;
    size_t texts_len;
};

/* Borrows data. An empty map (len 0) changes nothing. */
bool spm_charsmap_init(struct spm_charsmap *m, const uint8_t *data, size_t len, struct err *e);

/* What the longest beginning of s[n] that the map knows becomes, as SentencePiece itself reads the map; its bytes, 0: none. */
size_t spm_charsmap_longest(const struct spm_charsmap *m, const char *s, size_t n, const char **text,
                            size_t *len);

/* out = s normalised as the tokenizers library does it: grapheme clusters of up to 5 bytes as a whole if the map knows a
 * beginning of them, else character by character. */
bool spm_charsmap_apply(const struct spm_charsmap *m, const char *s, size_t n, struct masked *out,
                        struct err *e);

#endif
