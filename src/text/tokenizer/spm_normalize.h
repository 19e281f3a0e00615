/* spm_normalize.h - what SentencePiece makes of a text before it cuts it: its character map, white space, and the space that it puts in
 * front or behind. A space is written as a space here, not as U+2581 (tokenizer_internal.h).
 *
 * Threads  read-only. */
#ifndef HEARTH_TEXT_TOKENIZER_SPM_NORMALIZE_H
#define HEARTH_TEXT_TOKENIZER_SPM_NORMALIZE_H

#include "text/tokenizer/spm_charsmap.h"
#include "text/tokenizer/tokenizer_added.h"

struct spm_normalizer {
    struct spm_charsmap map;
    uint8_t *map_bytes;     /* owned, or NULL: map points into it */
    bool dummy;             /* add_dummy_prefix */
    bool remove_extra;      /* remove_extra_whitespaces: none at the ends, one at a time between */
    bool behind;            /* treat_whitespace_as_suffix: the dummy comes behind the text */
    struct added_set as_is; /* user-defined symbols, which the map leaves alone; texts are borrowed */
};

/* Copies the bytes of a character map (none: len 0). */
bool spm_normalizer_map(struct spm_normalizer *n, const uint8_t *data, size_t len, struct err *e);
void spm_normalizer_free(struct spm_normalizer *n);

/* out = s[len] normalised; valid UTF-8 in, valid UTF-8 out. `dummy`: whether a dummy may be added at all. */
bool spm_normalize(const struct spm_normalizer *n, const char *s, const unsigned char *mask, size_t len,
                   bool dummy, struct masked *out, struct err *e);

#endif
