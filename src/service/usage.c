/* usage.c - see usage.h. */
#include "service/usage.h"

static double longer(double a, double b) { return a > b ? a : b; }

void usage_add(struct usage *sum, const struct usage *part)
{
    sum->prompt_tokens += part->prompt_tokens;
    sum->cached_tokens += part->cached_tokens;
    sum->completion_tokens += part->completion_tokens;
    sum->reasoning_tokens += part->reasoning_tokens;
    sum->foreseen_tokens += part->foreseen_tokens;
    sum->unforeseen_tokens += part->unforeseen_tokens;
    sum->pictures += part->pictures;
    sum->steps += part->steps;
    sum->pixels += part->pixels;
    sum->queue_s = longer(sum->queue_s, part->queue_s);
    sum->prefill_s = longer(sum->prefill_s, part->prefill_s);
    sum->total_s = longer(sum->total_s, part->total_s);
    if (part->ttft_s > 0 && (sum->ttft_s <= 0 || part->ttft_s < sum->ttft_s)) sum->ttft_s = part->ttft_s;
}
