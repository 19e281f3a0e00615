/* dfa.h - deterministic automata over bytes, made from expressions (rx.h).
 *
 * A state from which nothing can be accepted does not exist: next is -1 there. So a byte is possible exactly when it has a next state.
 * Labels   an automaton may watch several expressions at once: a state that accepts the base says which of the others accept, too.
 * Threads  read only once made. */
#ifndef HEARTH_TEXT_GRAMMAR_DFA_H
#define HEARTH_TEXT_GRAMMAR_DFA_H

#include "text/grammar/rx.h"

struct dfa {
    int n;       /* states; state 0 is the start; 0: the language is empty */
    int n_class; /* of bytes that are alike */
    uint8_t class_of[256];
    int32_t *next;    /* [n, n_class] */
    uint8_t *accepts; /* [n] */
    uint64_t *
        label; /* [n]: bit i: watched expression i accepts what was read; or what dfa_of_texts() says. NULL: none */
    int32_t *other; /* [n], of dfa_of_texts(): the state of `other` that it would be in, or -1. NULL: none */
    uint64_t hash[2]; /* of the language's table: equal tables, equal hashes */
};

static inline int32_t dfa_next(const struct dfa *d, int32_t state, unsigned char byte)
{
    return d->next[state * d->n_class + d->class_of[byte]];
}

/* base, watching n_watched (at most 64) others; watched ones do not restrict it. false: more than max_states are needed, or more than the
 * pool's budget (ERR_LIMIT), or no memory. Free with dfa_free(). */
bool dfa_new(struct dfa **out, struct rx_pool *p, rx base, const rx *watched, int n_watched, int max_states,
             struct err *e);
void dfa_free(struct dfa *d);

/* Drops states from which nothing is accepted and numbers the others anew, in the same order. */
bool dfa_prune(struct dfa *d, struct err *e);

/* A state for each beginning of n distinct strings, sorted by bytes; what leaves them goes on in `other` (NULL: nowhere), which takes over
 * where it would be by then. label[s] is the string's number + 1 where one ends, else 0; label of `other`'s own states: 0, and
 * *first_other is the first of them. accepts: where a string ends, and where other accepts. */
bool dfa_of_texts(struct dfa **out, const char *const *text, int n, const struct dfa *other, int max_states,
                  int *first_other, struct budget *b, struct err *e);

/* How many strings are accepted; `most` when they are as many or more. */
uint32_t dfa_size(const struct dfa *d, uint32_t most);
/* The state behind a code point; -1: none. */
int32_t dfa_after_char(const struct dfa *d, int32_t state, uint32_t cp);
bool dfa_accepts(const struct dfa *d, const char *s, size_t n);

#endif
