/* vocab_trie.h - a vocabulary as a tree of bytes, in the order of a walk through it.
 *
 * Node i stands for a beginning of tokens: byte[i] at depth[i], whose descendants are i+1 .. skip[i]-1. A walk that steps some state along
 * goes on to i+1 when the byte was taken, and to skip[i] when not.
 * Threads  read only once made. */
#ifndef HEARTH_TEXT_GRAMMAR_VOCAB_TRIE_H
#define HEARTH_TEXT_GRAMMAR_VOCAB_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { VOCAB_MAX_TOKEN = 250 }; /* bytes; longer tokens are never allowed where something is constrained */

struct vocab_trie {
    int32_t n_vocab;
    uint32_t n; /* nodes; node 0 is the root, which has no byte */
    uint8_t *byte, *depth;
    uint32_t *skip;
    int32_t *token;          /* [n] a token that ends here, or -1 */
    int32_t *same;           /* [n_vocab] the next token of the same bytes, or -1 */
    const char *const *text; /* [n_vocab] the tokens' bytes, borrowed */
    const uint32_t *len;     /* [n_vocab] */
};

/* text[id], len[id] bytes; len 0: never part of a text (control tokens). Both are borrowed. */
bool vocab_trie_new(struct vocab_trie **out, const char *const *text, const uint32_t *len, int32_t n_vocab,
                    struct err *e);
void vocab_trie_free(struct vocab_trie *t);

#endif
