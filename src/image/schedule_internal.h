/* schedule_internal.h - a schedule's tables, shared by what fills them (schedule_table.c) and what steps through them
 * (schedule.c; the less common solvers in schedule_solvers.c). */
#ifndef HEARTH_IMAGE_SCHEDULE_INTERNAL_H
#define HEARTH_IMAGE_SCHEDULE_INTERNAL_H

#include "image/schedule.h"

enum { SCHEDULE_HISTORY = 5 };

struct schedule {
    struct schedule_config c; /* of the sampler that runs */
    int asked;                /* steps as the caller counts them; DDIM's stride comes from it */
    int n_steps;              /* evaluations of the network */
    double *sigma;            /* [n_steps + 1]; for DDIM of the timestep's table entry, then 0 */
    double *time;             /* [n_steps] */
    double *abar;             /* [n_train] cumulative alphas of the discrete process */
    struct device *dev;
    dev_float *before
        [SCHEDULE_HISTORY]; /* [values] each: the last steps' estimates, newest first; NULL: not needed */
    dev_float *spare;       /* [values], of one step */
    int n_before;
    int order;     /* UniPC: of the step before */
    int count;     /* PNDM: steps so far */
    float *sorted; /* [values] of the host's, for a quantile; NULL: not needed */
    size_t values;
};

/* Fills sigma, time and abar (which have room for 2 asked + 2 steps) and sets n_steps. */
void schedule_fill(struct schedule *s, int n_tokens);

/* y = the sum of the terms { factor, tensor }. */
#define SCHEDULE_MIX(s, y, ...)                                                                              \
    schedule_mix((s), (y), (const struct lincomb_term[]){ __VA_ARGS__ },                                     \
                 (int)(sizeof((const struct lincomb_term[]){ __VA_ARGS__ }) / sizeof(struct lincomb_term)))
static inline void schedule_mix(const struct schedule *s, dev_float *y, const struct lincomb_term *term,
                                int n)
{
    op_lincomb(s->dev, y, term, n, (int64_t)s->values);
}

/* The latent at a level is alpha x0 + sd noise. */
void schedule_mixture(const struct schedule *s, double sigma, double *alpha, double *sd);
double schedule_lambda(const struct schedule *s, int i); /* ln(alpha / sd) at step i */
/* The network's output gives the clean latent as x0 = p x + q output. */
void schedule_clean(const struct schedule *s, int i, double *p, double *q);
/* Clipping or thresholding of clean latents [values], as configured. */
void schedule_limit(struct schedule *s, dev_float *x0);
/* The oldest of before[0..n) becomes before[0], to be overwritten. */
dev_float *schedule_turn(struct schedule *s, int n);

/* schedule_solvers.c: one step each. */
void schedule_heun(struct schedule *s, int i, dev_float *x, const dev_float *output);
void schedule_unipc(struct schedule *s, int i, dev_float *x, const dev_float *output);
void schedule_deis(struct schedule *s, int i, dev_float *x, const dev_float *output);
void schedule_lms(struct schedule *s, int i, dev_float *x, const dev_float *output);
void schedule_ddpm(struct schedule *s, int i, dev_float *x, dev_float *output, const dev_float *noise);
void schedule_lcm(struct schedule *s, int i, dev_float *x, dev_float *output, const dev_float *noise);
void schedule_tcd(struct schedule *s, int i, dev_float *x, const dev_float *output);
void schedule_pndm(struct schedule *s, int i, dev_float *x, const dev_float *output);

#endif
