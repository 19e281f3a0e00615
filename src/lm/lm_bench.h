/* lm_bench.h - speed of a loaded model through its door (lm.h), as `hearth bench` and bench/lm.c print it.
 *
 * Prompts are new token ids each time, so that nothing comes from the prefix cache. Rates are tokens a second, the best of the
 * repetitions: what the machine can do, not how busy it was.
 * Threads  one caller; nothing else should run on the model meanwhile. */
#ifndef HEARTH_LM_LM_BENCH_H
#define HEARTH_LM_LM_BENCH_H

#include "lm/lm.h"

struct lm_bench {
    struct lm *lm;
    int repetitions;
    uint64_t round; /* of prompts so far */
};

#define LM_BENCH_MAX_PROMPT 16384
#define LM_BENCH_MAX_STREAMS 256

/* Over n_prompt tokens, from admission to the first token. */
bool lm_bench_prompt(struct lm_bench *b, int n_prompt, double *rate, struct err *e);
/* Over n_new tokens after a short prompt, without the first. */
bool lm_bench_generate(struct lm_bench *b, int n_new, double *rate, struct err *e);
/* Both of one request: over its n_prompt tokens, and over the n_new that follow them. */
bool lm_bench_long(struct lm_bench *b, int n_prompt, int n_new, double *prompt, double *generate,
                   struct err *e);
/* n sequences at once, from the first submission to the last token: generated tokens of all. */
bool lm_bench_streams(struct lm_bench *b, int n, int n_prompt, int n_new, double *rate, struct err *e);

#endif
