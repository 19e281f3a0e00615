/* guide.h - what steers the tokens of a choice: the budget of its thought, the constraint on its answer, the grammar of a call once the model
 * has opened one.
 *
 * A choice begins with a thought or without one, and goes on with its answer. The thought is free but for its length; the answer is free, or
 * held to a constraint from its beginning, or free until a text stands there that opens a call, and from that text's beginning on held to a
 * constraint. Where a constraint holds, the end is allowed exactly where the text may end; while one is still to come it is not allowed.
 *
 * Threads   a plan is read only once made and belongs to whoever holds a reference; a guide has one owner at a time. */
#ifndef HEARTH_TEXT_GRAMMAR_GUIDE_H
#define HEARTH_TEXT_GRAMMAR_GUIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "text/grammar/constraint_cache.h"
#include "text/tokenizer/tokenizer.h"

struct guide_spec {                       /* copied by guide_plan_new(), constraints by reference */
    const char *think_open, *think_close; /* the marks around a thought; NULL: the model does not think */
    bool inside;                          /* the prompt has opened the thought */
    int64_t budget; /* tokens of a thought, then it is closed for the model; -1: no end */

    struct constraint *answer; /* of the whole answer; NULL: none */
    const char *first; /* text in front of it that it is not about, or NULL; control tokens count as such */
    /* Of a free answer: */
    struct constraint *call; /* from the text that opens a call on; NULL: none */
    const char *const
        *opens; /* such texts, up to a NULL, which the constraint is about as well; NULL: none */
    const char *const *opens_before; /* ... and those which it is not about */
    bool opens_first;                /* they count in front of everything else but white space alone */

    const char *const *control; /* control tokens that are part of the text, up to a NULL; NULL: none */
    bool ignore_end;            /* the model's end tokens do not end the answer */
};

struct guide_plan;
/* c: over the model's vocabulary, the one that the constraints are from; borrowed for the plan's life. */
bool guide_plan_new(struct guide_plan **out, const struct guide_spec *s, const struct constraint_cache *c,
                    struct err *e);
struct guide_plan *guide_plan_ref(struct guide_plan *p); /* NULL: NULL */
void guide_plan_unref(struct guide_plan *p);
/* Is this control token to be shown? */
bool guide_shows(const struct guide_plan *p, int32_t id);
const uint32_t *guide_shown(const struct guide_plan *p); /* all of them, as bits; NULL: none */
/* Does a constraint hold from the first token on, thoughts aside? */
bool guide_is_strict(const struct guide_plan *p);

struct guide;
bool guide_new(struct guide **out, struct guide_plan *p, struct err *e);
void guide_free(struct guide *g);

enum guide_next {
    GUIDE_ANY,   /* any token */
    GUIDE_MASK,  /* those of guide_mask() */
    GUIDE_FORCED /* the tokens of *ids, one after the other, each to be taken with guide_take() */
};
/* What may come next; ids and *n are written for GUIDE_FORCED, and last until the next call. */
bool guide_next(struct guide *g, enum guide_next *next, const int32_t **ids, int *n, struct err *e);
/* bits [(n_vocab + 31) / 32] of the tokens that may come next, end tokens among them; *over: nothing but the end is left. May take its
 * time; the guide must not be touched meanwhile. */
bool guide_mask(struct guide *g, uint32_t *bits, bool *over, struct err *e);
/* A token that was drawn or forced, not an end. false: it could not come, or no memory. */
bool guide_take(struct guide *g, int32_t id, struct err *e);

/* Is what comes next part of a thought, or of the white space behind it, as far as is known? */
bool guide_thinks(const struct guide *g);
/* Tokens of the thought so far, its marks among them. */
int guide_thought_tokens(const struct guide *g);

#endif
