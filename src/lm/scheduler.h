/* scheduler.h - the thread that runs a model: which sequences go into each step, and whose pages make room.
 *
 * Step       every sequence that decodes brings one row; what is left of the step's rows goes to prompts, in chunks. Short
 *            prompts go first, but the oldest always gets half. While others decode, chunks are such that they
 *            add CHUNK_TARGET_S to a step, or as much as the step takes without them, by the measured costs.
 * Queue      a list of jobs in order of arrival for each share (key). A step looks at their heads; a job that is cancelled leaves it at once,
 *            whatever the thread is at. Choices wait as a number, not as entries: a thousand of them cost a step nothing.
 * Admission  of the share that was served least by its weight (base/shares.h), in order of arrival, when the pages the whole prompt needs are free
 *            or idle beyond what is promised already.
 * Fairness   while shares wait, each has its part of the places in a batch, and of the rows that prompts take: who has more gives way as if pages
 *            had run out. With more shares than places they take turns of TURN_ROWS. One share alone has everything.
 * Windows    after each step a sequence gives back the pages of windowed layers that it will not see again (kvplan.h); the tree may keep them
 *            as long as there is room.
 * Preemption when pages run out the youngest sequence of the share that has most gives its pages up and waits again; its tokens so far are
 *            processed again later. Nothing of that shows in its output.
 * Sharing    prompts start from the longest prefix in the tree (radix.h). Choices of one request wait for the first one's
 *            prompt and then find it there, and draw their first token from the logits that the first one's last token gave.
 * Steering   what a request demands of its answer becomes masks on a thread of its own (masks.h) while a step computes; a sequence whose mask is
 *            late draws in a later step from logits that it keeps. Tokens that can only come so are taken without a pass for each.
 * Guesses    in steps without prompts, what may come next stands behind a sequence's last token, as many rows as pay (speculate.h); those that
 *            come are taken without a step of their own.
 * Pictures   the rows of a tile are computed when its tokens come up in a step, one new tile a step at most: the others go on in between. Tiles
 *            that the prefix tree covers are not looked at.
 * Whole      texts of a model that sees them from both sides go in whole, in order of arrival, as many as a step holds; they have no pages.
 * Results    do not depend on any of this: rows are independent in every device operation.
 * Threads    submit, stats and wake from anywhere; all else happens on the scheduler's own thread. */
#ifndef HEARTH_LM_SCHEDULER_H
#define HEARTH_LM_SCHEDULER_H

#include "lm/arch.h"
#include "lm/job.h"
#include "lm/kvcache.h"
#include "lm/vector_head.h"

struct scheduler;

struct scheduler_config {
    const char *name; /* of the model, for messages; borrowed */
    const struct lm_arch *arch;
    struct lm_net *net; /* borrowed; used by the scheduler's thread alone from now on */
    const struct lm_shape *shape;
    struct device *dev;
    const struct tokenizer *tok;
    struct kvcache *cache; /* borrowed */
    const struct weights *
        weights; /* borrowed; when their files change, all requests end with an error and new ones are refused */
    struct sight *sight;                   /* borrowed; NULL: the model sees no pictures */
    const struct vector_head *vector_head; /* borrowed; NULL: vectors are as they were pooled */
    int n_ctx, max_batch, queue_limit, prefill_chunk;
    struct prefix_store *
        prefixes; /* borrowed; NULL: nothing is kept on disk. Only where all layers see alike (kvplan.h: one group) */
    enum lm_speculate speculate;
    int guess_rows; /* as lm_options has it */
};

/* Rows a step may have: what the network must be sized for. */
static inline int scheduler_max_rows(int max_batch, int prefill_chunk) { return max_batch + prefill_chunk; }

bool scheduler_new(struct scheduler **out, const struct scheduler_config *c, struct err *e);
/* Cancels what runs and joins the thread. */
void scheduler_free(struct scheduler *s);

/* Queues all or none; takes a reference of its own to each job. ERR_BUSY when the queue is full, ERR_LIMIT when it never had room. */
bool scheduler_submit(struct scheduler *s, struct lm_job *const *jobs, int n_jobs, struct err *e);
/* The job was cancelled. One that waits is out of the queue when this returns; its last events come from the thread. */
void scheduler_cancel(struct scheduler *s, struct lm_job *j);
/* A job that was submitted is no more. */
void scheduler_forget(struct scheduler *s, struct lm_job *j);
/* Of a job that waits, its place in its share's queue, from 1; those before it that were cancelled may still count. */
int scheduler_place(const struct scheduler *s, const struct lm_job *j);
void scheduler_stats(struct scheduler *s, struct lm_stats *out);

#endif
