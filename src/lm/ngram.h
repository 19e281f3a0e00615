/* ngram.h - what comes next, guessed from what was said before: the longest piece of the text so far that ends as the text ends now.
 *
 * A text that quotes (a file to be edited, a document to be summed up, JSON with its keys again and again) repeats itself: what followed the last tokens where they
 * stood before follows them once more. A guess costs a few look-ups, whatever the length of the text. (Prompt lookup decoding, Saxena 2023.)
 *
 * Text       tokens in the order of ngram_push(); ids below 0 (rows of pictures, a border between texts) match nothing and are never guessed.
 * Memory     12 bytes a token, and a table of buckets.
 * Threads    one owner at a time. */
#ifndef HEARTH_LM_NGRAM_H
#define HEARTH_LM_NGRAM_H

#include <stdbool.h>
#include <stdint.h>

struct ngram;

enum { NGRAM_BORDER = INT32_MIN }; /* between texts that do not follow each other */

struct ngram *ngram_new(void); /* NULL: no memory */
void ngram_free(struct ngram *g);

/* false: no memory; the text is as before, and whoever pushes on leaves a gap that only makes guesses worse. */
bool ngram_push(struct ngram *g, int32_t id);

/* Up to n_max tokens that may come next, into guess[]; their number. *match: how many tokens before them stood so before. */
int ngram_guess(const struct ngram *g, int32_t *guess, int n_max, int *match);

#endif
