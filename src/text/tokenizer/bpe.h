/* bpe.h - byte-pair merging over token ids.
 *
 * A table says which two neighbouring tokens join, into which, and with what rank. bpe_merge() joins the pair of the
 * lowest rank, the leftmost of equals, until none is left: the definition that the reference tokenizers share.
 * Cost     O(n log n) with a heap and a linked list for long input; short input is scanned, which is faster there.
 * Threads  the table is read-only after bpe_add() is done; a scratch has one owner. */
#ifndef HEARTH_TEXT_TOKENIZER_BPE_H
#define HEARTH_TEXT_TOKENIZER_BPE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct bpe_pair {
    int32_t left, right; /* left -1: free slot */
    uint32_t rank;
    int32_t id; /* what they join into */
};

struct bpe {
    struct bpe_pair *slot; /* open addressing, linear probing */
    size_t mask, n;
};

bool bpe_init(struct bpe *b, size_t n_pairs, struct err *e); /* room for that many pairs */
/* Keeps the first entry for a pair. Never passes the room of bpe_init(): more is ignored. */
void bpe_add(struct bpe *b, int32_t left, int32_t right, uint32_t rank, int32_t id);
void bpe_free(struct bpe *b);

enum { BPE_MAX_SYMBOLS = 1 << 30 };

struct bpe_scratch {
    void *mem; /* grown as needed */
    size_t cap;
    uint64_t *heap; /* its own block: it grows while merging */
    size_t heap_n, heap_cap;
    const atomic_bool *cancel; /* the owner's; once set, a long merge ends with ERR_CANCELLED; NULL: never */
};
void bpe_scratch_free(struct bpe_scratch *s);

/* Joins sym[*n] in place and leaves the new count in *n. An id of -1 joins with nothing. n <= BPE_MAX_SYMBOLS. */
bool bpe_merge(const struct bpe *b, struct bpe_scratch *s, int32_t *sym, size_t *n, struct err *e);

#endif
