/* usage.h - what a request has used: all that is shown to the client, counted and, one day, paid for. */
#ifndef HEARTH_SERVICE_USAGE_H
#define HEARTH_SERVICE_USAGE_H

#include <stdint.h>

struct usage {
    int prompt_tokens,
        cached_tokens;     /* over all prompts; cached: those of them that were not computed anew */
    int completion_tokens; /* over all choices, those that best_of leaves out too */
    int reasoning_tokens;  /* those of them that were thought */
    int foreseen_tokens, unforeseen_tokens; /* of what the client foresaw: what came true, and what did not */
    int pictures, steps;                    /* pictures made; steps of the network, of unfinished ones too */
    int64_t pixels;                         /* of the pictures made */
    double queue_s, prefill_s, ttft_s, total_s; /* the longest of the parts; ttft: the first token of all */
};

/* Parts of one request run side by side: counts add up, times are the longest, the first token is the earliest. */
void usage_add(struct usage *sum, const struct usage *part);

#endif
