/* unigram.h - a text as the most probable row of pieces (SentencePiece's unigram models): Viterbi over all pieces at all places.
 *
 * An unknown character costs the worst piece's score and 10 more; of equal sums the one found first stays, as in the reference.
 * Cost     linear in the text times the longest piece; 16 bytes of scratch for each byte of text.
 * Threads  read-only after unigram_finish(); a scratch has one owner. */
#ifndef HEARTH_TEXT_TOKENIZER_UNIGRAM_H
#define HEARTH_TEXT_TOKENIZER_UNIGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct unigram_piece {
    const char *text; /* borrowed */
    size_t len;
    double score;
    int32_t id;
};

struct unigram {
    struct unigram_piece *piece; /* sorted by text */
    size_t n;
    uint32_t first[257]; /* pieces that begin with byte b: piece[first[b]] .. piece[first[b + 1]] */
    double unknown_score;
    int32_t unk;
    bool narrow; /* sums are kept as float, as SentencePiece does; the tokenizers library keeps doubles */
};

/* Room for n pieces. */
bool unigram_init(struct unigram *u, size_t n, struct err *e);
/* Empty texts are left out. */
void unigram_add(struct unigram *u, const char *text, size_t len, double score, int32_t id);
/* After all pieces: of equal texts the one with the lowest id stays. `worst`: the lowest score of an ordinary piece. */
void unigram_finish(struct unigram *u, double worst);
void unigram_free(struct unigram *u);

struct unigram_scratch {
    void *node;
    size_t cap;
};
void unigram_scratch_free(struct unigram_scratch *s);

/* Calls token() for each piece of s[n] (valid UTF-8), in order, with its place; id is u->unk for a character that no piece begins. */
bool unigram_encode(const struct unigram *u, struct unigram_scratch *x, const char *s, size_t n,
                    bool (*token)(void *arg, int32_t id, const char *s, size_t n, struct err *e), void *arg,
                    struct err *e);

#endif
