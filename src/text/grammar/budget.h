/* budget.h - what one compilation may cost, whoever wrote what is compiled.
 *
 * Everything counts against one budget: steps of work, and bytes of memory that were asked for (what is given back does not count, so that
 * the peak lies below). Both are counted, not measured, so the same input always ends the same way.
 * A step   is what takes some 15 ns: an expression looked up, a cell of an automaton, a keyword read. Whoever does more than a few of them
 *          in a row takes them first.
 * Failure  once something is used up every call says so, and budget_ok() why.
 * Threads  one owner; *cancel may be set from anywhere. */
#ifndef HEARTH_TEXT_GRAMMAR_BUDGET_H
#define HEARTH_TEXT_GRAMMAR_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct budget {
    long steps, at_hand; /* left; those at hand are out of `steps` and are looked at without anything else */
    long long bytes;     /* left */
    const atomic_bool *cancel; /* NULL: nobody ends it */
    enum err_code over;        /* ERR_NONE: nothing is used up; ERR_LIMIT, ERR_NOMEM, ERR_CANCELLED */
    bool too_large;            /* ERR_LIMIT: it was the bytes */
};

/* 0: no limit. */
void budget_open(struct budget *b, long steps, long long bytes, const atomic_bool *cancel);
bool budget_more(struct budget *b); /* budget_take()'s rare part */
static inline bool budget_take(struct budget *b, long steps)
{
    b->at_hand -= steps;
    return b->at_hand >= 0 || budget_more(b);
}
bool budget_bytes(struct budget *b, size_t n);
/* There was no memory: false. */
bool budget_no_memory(struct budget *b);
/* false and an error when something is used up. */
bool budget_ok(const struct budget *b, struct err *e);

#endif
