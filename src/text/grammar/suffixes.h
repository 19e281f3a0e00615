/* suffixes.h - what stands behind some place in tokens, as a tree of bytes: tokens that leave a text, or a rule, and are read on behind it.
 *
 * Laid out as a vocabulary is (vocab_trie.h): node i has byte[i] at depth[i], its descendants are i+1 .. skip[i]-1; node 0 is the root.
 * Threads  read only once made. */
#ifndef HEARTH_TEXT_GRAMMAR_SUFFIXES_H
#define HEARTH_TEXT_GRAMMAR_SUFFIXES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct suffixes {
    uint32_t n;
    uint8_t *byte, *depth;
    uint32_t *skip;
    uint32_t *first; /* [n+1] where the tokens that end at a node begin in id[] */
    int32_t *id;
    uint8_t *chars; /* beside id[]: characters before the place */
};

struct leaving {      /* a token, and the place in it */
    const char *text; /* behind the place; borrowed until the tree is made */
    uint32_t len;
    int32_t id, q; /* q, cls: what leaves it, for who asks */
    int cls, chars;
};

struct leavings {
    struct leaving *at;
    size_t n, cap;
};
bool leave(struct leavings *l, struct leaving one); /* false: no memory */
void leavings_sort(struct leavings *l);             /* by cls, then text, then id */

/* l[n]: sorted, of one class. false: no memory. */
bool suffixes_make(struct suffixes *x, const struct leaving *l, size_t n);
void suffixes_free(struct suffixes *x);
size_t suffixes_bytes(const struct suffixes *x);

#endif
