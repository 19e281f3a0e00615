/* answer_filter.h - takes what a policy refuses out of answers before anybody has seen it, also while they are streamed.
 *
 * Of each choice is kept back what may still become a refused phrase: text, thoughts and the arguments of calls, each by itself. A choice that
 * says one ends there, with REPLY_FILTERED and without the piece in which the phrase begins. Pieces pass as they came or not at all, so the same
 * answer is the same events however fast they come.
 *
 * Ownership  the rules and the policy outlive it. Events that go in are its own until they come out.
 * Threads    one user at a time. */
#ifndef HEARTH_SERVICE_ANSWER_FILTER_H
#define HEARTH_SERVICE_ANSWER_FILTER_H

#include "service/reply.h"
#include "service/safety/policy.h"

struct answer_filter;
bool answer_filter_new(struct answer_filter **out, const struct word_rules *r, const struct word_policy *p,
                       int n_choices, struct err *e);
void answer_filter_free(struct answer_filter *f);
/* Takes over what *ev points to, also on failure. */
bool answer_filter_take(struct answer_filter *f, struct reply_event *ev, struct err *e);
/* The next event that may be seen; false: none now. */
bool answer_filter_next(struct answer_filter *f, struct reply_event *ev);
/* Every choice has ended or been filtered: nothing that is still generated will be seen. */
bool answer_filter_over(const struct answer_filter *f);

#endif
