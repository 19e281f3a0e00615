/* scheduler.h - the thread that runs a model: which sequences go into each step, and whose pages make room.
 *
 * Step       every sequence that decodes brings one row; what is left of the step's rows goes to prompts, in chunks. Short
 *            prompts go first, but the oldest always gets half. While others decode, chunks are such that they
 *            add CHUNK_TARGET_S to a step, or as much as the step takes without them, by the measured costs.
 * Admission  in order of arrival, when the pages the whole prompt needs are free or idle beyond what is promised already.
 * Preemption when pages run out the youngest sequence gives its pages up and waits again; its tokens so far are
 *            processed again later. Nothing of that shows in its output.
 * Sharing    prompts start from the longest prefix in the tree (radix.h). Choices of one request wait for the first one's
 *            prompt and then find it there.
 * Results    do not depend on any of this: rows are independent in every device operation.
 * Threads    submit, stats and wake from anywhere; all else happens on the scheduler's own thread. */
#ifndef HEARTH_LM_SCHEDULER_H
#define HEARTH_LM_SCHEDULER_H

#include "lm/arch.h"
#include "lm/job.h"
#include "lm/kvcache.h"

struct scheduler;

struct scheduler_config {
    const char *name; /* of the model, for messages; borrowed */
    const struct lm_arch *arch;
    struct lm_net *net; /* borrowed; used by the scheduler's thread alone from now on */
    const struct lm_shape *shape;
    struct device *dev;
    const struct tokenizer *tok;
    struct kvcache *cache; /* borrowed */
    int n_ctx, max_batch, queue_limit, prefill_chunk;
};

/* Rows a step may have: what the network must be sized for. */
static inline int scheduler_max_rows(int max_batch, int prefill_chunk) { return max_batch + prefill_chunk; }

bool scheduler_new(struct scheduler **out, const struct scheduler_config *c, struct err *e);
/* Cancels what runs and joins the thread. */
void scheduler_free(struct scheduler *s);

/* Takes a reference of its own to the job. ERR_BUSY when the queue is full. */
bool scheduler_submit(struct scheduler *s, struct lm_job *j, struct err *e);
/* A job was cancelled: look now, not at the next step. */
void scheduler_wake(struct scheduler *s);
void scheduler_stats(struct scheduler *s, struct lm_stats *out);

#endif
