/* phrases.h - finds words and phrases in texts of any script, in time that grows with the text alone.
 *
 * A text is read as people read it: case, width, accents and what is invisible do not count, any run of spaces and punctuation is one space, and
 * a phrase is found where it stands as whole words. A phrase that ends with "*" is found with any ending ("weapon*": weaponry too). In scripts
 * that put no spaces between words any character begins and ends one; in Korean a word may have an ending.
 * Tricks   the same text is read once more without them: digits and signs for letters (v10lence), letters of other scripts that look alike, and
 *          letters with something between (v i o l e n c e, v-i-o-l-e-n-c-e). What is found so counts only where a trick was used: at least
 *          as many letters as signs, and of letters with something between the whole row, or five at least.
 * Threads  a finished struct phrases is only read. */
#ifndef HEARTH_SERVICE_SAFETY_PHRASES_H
#define HEARTH_SERVICE_SAFETY_PHRASES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { PHRASES_LISTS = 64, PHRASES_MOST = 100000, PHRASE_BYTES = 400 };

struct phrases;
bool phrases_new(struct phrases **out, struct err *e);
void phrases_free(struct phrases *p);
/* list < PHRASES_LISTS. ERR_REQUEST: nothing of it is a letter or a digit, or it is too long; ERR_LIMIT: too many. */
bool phrases_add(struct phrases *p, const char *text, unsigned list, struct err *e);
/* After the last one; only then may anything be looked for. */
bool phrases_finish(struct phrases *p, struct err *e);

struct phrase_hit {
    size_t begin, end; /* bytes of the text */
    unsigned list;
    const char *phrase; /* as it was added; lives as long as the phrases */
};
/* Returns false to look no further. */
typedef bool phrase_fn(void *arg, const struct phrase_hit *hit);

/* All that is found, in the order of their ends: first as the text stands, then without tricks. The text need not be valid UTF-8. */
bool phrases_find(const struct phrases *p, const char *text, size_t len, phrase_fn *fn, void *arg,
                  struct err *e);

/* ---- a text that comes in pieces ------------------------------------------------------------------------------------ */

/* What is known of the text before a piece; zeroed at its beginning. */
struct phrase_context {
    unsigned char last; /* enum fold_kind of the last character that is no gap; a gap: there is none */
    unsigned char letters, gaps; /* of the last word, up to 2; behind it, up to 4 */
    bool sign;                   /* the last character is one that stands for a letter of the word */
    unsigned char row; /* between it and the single character before it, up to 4; 0: there is none */
};
/* The first phrase of `lists` (bits) in the text so far, of which what was settled before is left out: *found. Otherwise *settled bytes of it
 * have no part in any phrase, whatever comes; all of them when there is no `more`. *c then holds of what follows those. */
bool phrases_find_growing(const struct phrases *p, uint64_t lists, const char *text, size_t len, bool more,
                          struct phrase_context *c, bool *found, struct phrase_hit *hit, size_t *settled,
                          struct err *e);

#endif
