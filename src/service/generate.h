/* generate.h - a text request under way: from messages to tokens, onto its model's queue, and its events back.
 *
 * One request may have several prompts, each with several choices; they run side by side and their events come interleaved.
 * Choice numbers run prompt by prompt. */
#ifndef HEARTH_SERVICE_GENERATE_H
#define HEARTH_SERVICE_GENERATE_H

#include <stdatomic.h>

#include "service/models/registry.h"
#include "service/reply.h"
#include "service/request.h"

struct generation;

/* Templates, tokenises, fits the context and submits. `m` must have been found for q->model; it is acquired here (loading it if need
 * be) and released by generation_free(). `notify` may be called before this returns, from another thread, and must not block.
 * q is only read. cancel: once set, by any thread, the preparation ends soon with ERR_CANCELLED; NULL: never. Where the queue is full
 * f->retry_after_s is set. */
bool generation_start(struct registry *r, struct model *m, const struct gen_request *q,
                      const atomic_bool *cancel, void (*notify)(void *arg), void *arg,
                      struct generation **out, struct fault *f);
/* After this returns, notify is not called any more. Cancels what still runs. */
void generation_free(struct generation *g);
void generation_cancel(struct generation *g); /* any thread */

/* Takes the next event; false when there is none now. REPLY_DONE comes once, with the sums. After it or REPLY_ERROR nothing more
 * comes. Free events with reply_event_free(). */
bool generation_next(struct generation *g, struct reply_event *ev);

/* Seconds after which a place in a full queue is likely, from 1 to 60: what a request took in the mean, shared by those that run. */
int generation_retry_s(const struct lm_stats *s);

const struct tokenizer *generation_tokenizer(const struct generation *g);
/* Messages that were left out to make the prompt fit. */
int generation_dropped(const struct generation *g);
/* Keywords of the request's schemas that decide nothing, as steering.h has them, or NULL. */
const char *generation_ignored(const struct generation *g);
/* Prompt i as the model saw it. text is NULL when ids were given. */
const int32_t *generation_prompt(const struct generation *g, int i, size_t *n, const char **text);

#endif
