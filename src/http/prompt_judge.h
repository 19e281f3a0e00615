/* prompt_judge.h - where the safety file's judge looks at prompts (`prompts: true`), a request waits for its judgement before anything else is done with
 * it: whatever API it is of. */
#ifndef HEARTH_HTTP_PROMPT_JUDGE_H
#define HEARTH_HTTP_PROMPT_JUDGE_H

#include <stdbool.h>

struct exchange;
struct route;

/* On x's lane, before its handler. False: nobody judges it, or there is nothing to judge. True: then() goes on with it on its lane, or it was answered. */
bool prompt_judge_takes(struct exchange *x, const struct route *endpoint, void (*then)(struct exchange *x));

#endif
