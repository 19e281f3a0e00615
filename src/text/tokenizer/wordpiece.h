/* wordpiece.h - BERT's tokenizer, as the tokenizers library has it: its normaliser, its splitting, and words as the longest pieces from the
 * left.
 *
 * Pieces    those that go on inside a word begin with a prefix ("##ing"). A word that cannot be spelled, or is too long, is one unknown token.
 * Threads   read-only after loading. */
#ifndef HEARTH_TEXT_TOKENIZER_WORDPIECE_H
#define HEARTH_TEXT_TOKENIZER_WORDPIECE_H

#include "text/tokenizer/tokenizer_vocab.h"
#include "text/unicode.h"

enum wp_class { WP_DROP = 1, WP_SPACE = 2, WP_MARK = 4, WP_PUNCT = 8, WP_CHINESE = 16 };

enum { WP_PREFIX = 32 };

struct wordpiece {
    /* The normaliser, in this order: control characters go and white space becomes spaces; spaces around Chinese characters; accents go;
     * small letters. */
    bool clean, chinese, strip, lower;
    bool split; /* the pre-tokenizer is BERT's: words end at white space, each punctuation mark is one */
    int max_chars;
    char prefix[WP_PREFIX];
    size_t prefix_len;
    int32_t unk;
};

/* As BERT without accents and capitals (uncased) has it; unk is -1. */
void wordpiece_defaults(struct wordpiece *w);

/* out = the text normalised; masks as with unicode_normalize(). `formed` is scratch; both are the caller's to free. */
bool wordpiece_normalize(const struct wordpiece *w, const struct unicode *u, const char *s,
                         const unsigned char *mask, size_t n, struct masked *formed, struct masked *out,
                         struct err *e);

/* Each word of the text in turn; ends with the first one that fails. */
bool wordpiece_split(const struct wordpiece *w, const char *s, size_t n,
                     bool (*word)(void *arg, const char *s, size_t n, struct err *e), void *arg,
                     struct err *e);

/* The word's pieces into id, which has room for one a byte; how many. room: n + WP_PREFIX bytes of scratch. */
size_t wordpiece_word(const struct wordpiece *w, const struct vocab *v, const char *s, size_t n, char *room,
                      int32_t *id);

/* ---- wordpiece_data.c -------------------------------------------------------------------------------------------------- */

struct wp_run { /* characters first..last are of this enum wp_class */
    uint32_t first, last;
    unsigned char bits;
};
extern const struct wp_run wp_runs[]; /* ascending */
extern const size_t wp_n_runs;

struct wp_lower { /* every step-th character of first..last has its small letter `delta` further on */
    uint32_t first, last;
    int step, delta;
};
extern const struct wp_lower wp_lowers[]; /* ascending */
extern const size_t wp_n_lowers;

#endif
