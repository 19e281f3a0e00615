/* breaker.h - when an upstream is asked, when it is asked again, and when it is left alone: numbers and a clock, nothing else.
 *
 * Breaker   closed: everything goes through. After `failures` in a row it is open: nothing does, for `open_s`. Then it is half open: one
 *           request tries; if that goes well it is closed, else open again.
 * Budget    each success earns a share of a retry, each retry costs one. So retries are at most that share of what succeeds, but for the few
 *           that a quiet upstream has saved: when it goes down, retries end instead of doubling its load.
 * Threads   whoever has the lock around them. Times are clock_seconds(). */
#ifndef HEARTH_SERVICE_ROUTE_BREAKER_H
#define HEARTH_SERVICE_ROUTE_BREAKER_H

#include <stdbool.h>

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };
const char *breaker_name(enum breaker_state s); /* "closed", "open", "half-open" */

struct breaker {
    enum breaker_state state;
    int failures; /* in a row */
    double until; /* open: when one may try */
};

/* May a request go? Half open: it is the one that tries, and owes breaker_passed(), breaker_failed() or breaker_unknown(). */
bool breaker_take(struct breaker *b, double now);
/* The same without taking it: what a list shows, and who chooses. */
bool breaker_would(const struct breaker *b, double now);
void breaker_passed(struct breaker *b);
void breaker_failed(struct breaker *b, int failures, double open_s, double now);
/* The one that tried ended without an answer to the question: its client left. */
void breaker_unknown(struct breaker *b, double now);

enum { RETRY_SAVED = 10 };
struct retry_budget {
    double has; /* retries */
};
void retry_budget_earn(struct retry_budget *b, double share);
bool retry_budget_take(struct retry_budget *b);

/* Seconds before retry n (from 0): exponential with full jitter, `drawn` of [0, 1) of min(most, base * 2^n). */
double retry_delay(double base_s, double most_s, int n, double drawn);

#endif
