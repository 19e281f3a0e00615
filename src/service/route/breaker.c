/* breaker.c - see breaker.h. Full jitter: M. Brooker, "Exponential Backoff And Jitter" (2015); the budget: Google's SRE book, chapter 21. */
#include "service/route/breaker.h"

#include <math.h>

const char *breaker_name(enum breaker_state s)
{
    static const char *const name[] = { "closed", "open", "half-open" };
    return name[s];
}

bool breaker_would(const struct breaker *b, double now)
{
    return b->state == BREAKER_CLOSED || (b->state == BREAKER_OPEN && now >= b->until);
}

bool breaker_take(struct breaker *b, double now)
{
    if (!breaker_would(b, now)) return false;
    if (b->state == BREAKER_OPEN) b->state = BREAKER_HALF_OPEN;
    return true;
}

void breaker_passed(struct breaker *b) { *b = (struct breaker){ .state = BREAKER_CLOSED }; }

void breaker_failed(struct breaker *b, int failures, double open_s, double now)
{
    b->failures++;
    /* What was sent before it opened says nothing new. */
    if (b->state == BREAKER_OPEN || (b->state == BREAKER_CLOSED && b->failures < failures)) return;
    b->state = BREAKER_OPEN;
    b->until = now + open_s;
}

void breaker_unknown(struct breaker *b, double now)
{
    if (b->state != BREAKER_HALF_OPEN) return;
    b->state = BREAKER_OPEN;
    b->until = now;
}

void retry_budget_earn(struct retry_budget *b, double share) { b->has = fmin(b->has + share, RETRY_SAVED); }

bool retry_budget_take(struct retry_budget *b)
{
    if (b->has < 1) return false;
    b->has -= 1;
    return true;
}

double retry_delay(double base_s, double most_s, int n, double drawn)
{
    return fmin(most_s, ldexp(base_s, n < 60 ? n : 60)) * drawn;
}
