/* schedule_internal.h - a schedule's tables, shared by what fills them (schedule_table.c) and what steps through them. */
#ifndef HEARTH_IMAGE_SCHEDULE_INTERNAL_H
#define HEARTH_IMAGE_SCHEDULE_INTERNAL_H

#include "image/schedule.h"

enum { SCHEDULE_HISTORY = 3 };

struct schedule {
    struct schedule_config c; /* of the sampler that runs */
    int asked;                /* steps as the caller counts them; DDIM's stride comes from it */
    int n_steps;              /* evaluations of the network */
    double *sigma;            /* [n_steps + 1]; for DDIM of the timestep's table entry, then 0 */
    double *time;             /* [n_steps] */
    double *abar;             /* [n_train] cumulative alphas of the discrete process */
    float *before
        [SCHEDULE_HISTORY]; /* [values] each: the last steps' estimates, newest first; NULL: not needed */
    int n_before;
    float *sorted; /* [values] for a quantile; NULL: not needed */
    size_t values;
};

/* Fills sigma, time and abar (which have room for asked + 1 steps) and sets n_steps. */
void schedule_fill(struct schedule *s, int n_tokens);

#endif
