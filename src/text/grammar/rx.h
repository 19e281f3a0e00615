/* rx.h - regular languages of byte strings, as expressions with and, or and not.
 *
 * An expression is a number: equal numbers are equal expressions (hash-consed), and simple laws are applied as they are made. Complement
 * and intersection cost nothing here; the automaton (dfa.h) is made from derivatives (Brzozowski 1964; Owens, Reppy, Turon 2009).
 * Failure  a pool has room for so many expressions, and a budget. What does not fit makes the pool fail: everything made from then on
 *          is meaningless, and rx_ok() says so once at the end.
 * Threads  one owner at a time. */
#ifndef HEARTH_TEXT_GRAMMAR_RX_H
#define HEARTH_TEXT_GRAMMAR_RX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text/grammar/budget.h"

typedef int32_t rx;
enum { RX_NONE, RX_EMPTY, RX_ALL }; /* no string; the empty string alone; every string */

struct rx_bytes { /* a set of bytes */
    uint64_t has[4];
};
static inline bool rx_bytes_has(const struct rx_bytes *s, unsigned b)
{
    return s->has[b >> 6] >> (b & 63) & 1;
}
static inline void rx_bytes_add(struct rx_bytes *s, unsigned first, unsigned last) /* both included */
{
    for (unsigned b = first; b <= last; b++) s->has[b >> 6] |= UINT64_C(1) << (b & 63);
}

struct rx_pool;
/* max_work: steps of making and deriving (budget.h); 0: no limit. NULL: no memory. */
struct rx_pool *rx_pool_new(size_t max_nodes, long max_work);
/* The same, counting against a budget that the caller shares with it, and which outlives the pool. */
struct rx_pool *rx_pool_within(size_t max_nodes, struct budget *b);
/* What the pool counts against: its own, or the caller's. */
struct budget *rx_budget(struct rx_pool *p);
void rx_pool_free(struct rx_pool *p);
/* false and an error when an expression did not fit, or there was no memory. */
bool rx_ok(const struct rx_pool *p, struct err *e);

rx rx_range(struct rx_pool *p, unsigned first, unsigned last); /* one byte of first..last */
rx rx_text(struct rx_pool *p, const char *s, size_t n);
/* One of n strings, sorted by strcmp on unsigned bytes and distinct: factored by their beginnings. */
rx rx_texts(struct rx_pool *p, const char *const *s, int n);
rx rx_cat(struct rx_pool *p, rx a, rx b);
rx rx_or(struct rx_pool *p, rx a, rx b);
rx rx_or_all(struct rx_pool *p, const rx *a, size_t n); /* many at once */
rx rx_and(struct rx_pool *p, rx a, rx b);
rx rx_not(struct rx_pool *p, rx a);
rx rx_repeat(struct rx_pool *p, rx a, int min, int max); /* max -1: no end */

/* One character of first..last (code points, surrogates left out) in UTF-8. */
rx rx_chars(struct rx_pool *p, uint32_t first, uint32_t last);
/* Every valid UTF-8 text. */
rx rx_any_text(struct rx_pool *p);

/* The strings that an automaton accepts from a state on: next[state * n_class + class_of[byte]], -1 for none. The pool copies it. */
struct rx_table {
    int n, n_class;
    uint8_t class_of[256];
    const int32_t *next;
    const uint8_t *accepts; /* [n] */
};
int rx_table(struct rx_pool *p, const struct rx_table *t); /* its number in the pool */
rx rx_state(struct rx_pool *p, int table, int32_t state);

bool rx_has_empty(const struct rx_pool *p, rx a); /* is the empty string in it? */
/* What may follow byte b. */
rx rx_after(struct rx_pool *p, rx a, unsigned b);
/* Divides the bytes so that those of one class are alike to a and to all that derives from it: class_of[b] = class of b, numbered from
 * what *n is on in. Called for several expressions it refines. Start with all zeros and *n = 1. */
void rx_classes(struct rx_pool *p, rx a, uint8_t class_of[256], int *n);

#endif
