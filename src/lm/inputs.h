/* inputs.h - what a step gives the device besides its weights: token ids, positions, where sequences stand, and one flat table of their
 * pages for each group (kvplan.h), in one upload.
 *
 * Memory   grows to what the largest step so far needed.
 * Threads  one owner, who holds the device. */
#ifndef HEARTH_LM_INPUTS_H
#define HEARTH_LM_INPUTS_H

#include "lm/arch.h"

struct inputs {
    struct device *dev;
    int32_t *host; /* all of it, as it goes up */
    dev_int *all;
    size_t cap; /* numbers that both have room for */
    /* Of this step, inside `all`: */
    const dev_int *ids, *pos; /* [n_rows] */
    const dev_int *where;     /* [n_seq, 3], as attn_args.where */
    const dev_int *page;      /* [n_group, n_seq, max_pages] */
    struct attn_seq *seq;     /* [n_seq], the host's */
    int cap_seq;
    int max_pages;
};

/* Takes the batch's numbers up. n_group: how many of b->seq's tables there are. */
bool inputs_set(struct inputs *in, struct device *d, const struct lm_batch *b, int n_group, struct err *e);
void inputs_free(struct inputs *in);

#endif
