/* shares.h - who goes next when several wait: what is served is dealt by weight, not by who asks most.
 *
 * Each share has a count of what was served to it, divided by its weight; of those who wait the one with the least is next, and higher
 * priorities go before lower ones. In the long run that deals as a deficit round robin does; but work is charged as it is done, so that its
 * length need not be known beforehand, and nobody waits for a round. A share that begins to ask, or asks again, starts no lower than the
 * least of those who are asking: nobody saves up while away.
 *
 * Threads    one at a time.
 * Ownership  a share is counted by those who hold it and lives as long. */
#ifndef HEARTH_BASE_SHARES_H
#define HEARTH_BASE_SHARES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whose a piece of work is. All zeros: that of everybody who says nothing, of weight 1. */
struct share_claim {
    uint64_t id;
    int weight;   /* 0: 1 */
    int priority; /* higher goes first */
};

struct share {
    struct share *next;
    uint64_t id;
    int weight, priority;
    int holders;   /* of the struct */
    int asking;    /* pieces of work that wait or are being done */
    double served; /* by weight */
};

struct shares {
    struct share *first;
    size_t size; /* of what a share is the beginning of: 0 beyond it */
};

/* The share of this claim, made where there is none, with one holder more; the claim's weight and priority hold from now on. NULL: no memory. */
struct share *shares_hold(struct shares *s, const struct share_claim *c);
/* It may be gone after this. */
void shares_let_go(struct shares *s, struct share *h);

/* n more pieces of its work wait, or n have ended. */
void shares_ask(struct shares *s, struct share *h, int n);
void shares_served(struct share *h, double work);

/* Whether a is to be served before b; false when neither is. */
bool shares_before(const struct share *a, const struct share *b);
/* Whether a, which waits and has n_a places now, should have one that b has, of its n_b: because it goes first, has fewer by its weight also
 * with one more, or was served less by `slice` and more. Never both ways. */
bool shares_entitled(const struct share *a, int n_a, const struct share *b, int n_b, double slice);

#endif
