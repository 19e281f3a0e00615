/* item_masks.h - which tokens may come at a place of a rule, found out once for each place.
 *
 * From one state of a rule's automaton on, without a look at where the rule stands, a token is possible, or not, or it ends the rule on the
 * way: then what is left of it has to be read by the callers. Those remainders are a tree like the vocabulary's, from which each
 * caller's state has a mask of its own: so a mask is put together from sets that are known, and no byte is walked twice.
 * (XGrammar, Dong et al. 2024, divides tokens so; here the callers' part is remembered, too.)
 * Threads   any; a lock guards the table, what is in it does not change. */
#ifndef HEARTH_TEXT_GRAMMAR_ITEM_MASKS_H
#define HEARTH_TEXT_GRAMMAR_ITEM_MASKS_H

#include <pthread.h>

#include "text/grammar/machine.h"
#include "text/grammar/vocab_trie.h"

enum { ITEM_BUCKETS = 1024 };

struct item_masks {
    const struct vocab_trie *v;
    pthread_mutex_t lock; /* guards what follows */
    struct item_mask *known[ITEM_BUCKETS];
    struct item_tree *trees;
    size_t bytes;
};

void item_masks_init(struct item_masks *t, const struct vocab_trie *v); /* borrows v */
void item_masks_free(struct item_masks *t);
size_t item_masks_bytes(struct item_masks *t);

/* Adds to bits the tokens that may come at state q in a call. The machine is used behind `below`, and left as it was. */
bool item_masks_mark(struct item_masks *t, struct machine *m, const struct view *below, int32_t q,
                     const struct call *in, uint32_t *bits, struct err *e);

/* A tree of bytes to walk: the vocabulary's, or what leaves a text. */
struct byte_tree {
    uint32_t n;
    const uint8_t *byte, *depth;
    const uint32_t *skip;
};
/* Steps a state along a tree; `reached`, with the state, at every node that can be (false: no memory). ERR_LIMIT: in too many ways, or it takes too long. */
bool tree_walk(struct machine *m, const struct byte_tree *t, const struct view *from,
               bool (*reached)(void *arg, uint32_t node, const struct view *at), void *arg, struct err *e);
/* ERR_LIMIT or ERR_NOMEM, when the machine has stumbled. */
bool machine_well(struct machine *m, struct err *e);

#endif
