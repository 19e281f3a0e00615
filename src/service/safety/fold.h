/* fold.h - a text as people read it: without case, width, accents and what is invisible, character by character with the bytes it came from.
 *
 * Threads  pure functions. */
#ifndef HEARTH_SERVICE_SAFETY_FOLD_H
#define HEARTH_SERVICE_SAFETY_FOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum fold_kind {
    FOLD_GAP,  /* spaces, punctuation, symbols, bytes that are no UTF-8 */
    FOLD_WORD, /* what words are made of */
    FOLD_KANA, /* katakana: words too, which end where another script begins */
    FOLD_ALONE /* of a script that puts no spaces between its words */
};

struct folded {
    uint32_t at, end; /* bytes of the text: one character may become several here */
    uint32_t cp;
    enum fold_kind kind;
};

/* len below 4 GB. *out is malloc'ed. */
bool fold_text(const char *text, size_t len, struct folded **out, size_t *n, struct err *e);

/* The letter that a digit or sign is written for (0: o), or a letter of another script looks like; 0: none. */
uint32_t fold_sign(uint32_t cp);
uint32_t fold_lookalike(uint32_t cp);

#endif
