/* metrics.h - counters for Prometheus. What models count themselves (tokens, batches, pages) is read from them when asked.
 *
 * Threads    recording is lock-free; printing sees each counter at its own moment. */
#ifndef HEARTH_HTTP_METRICS_H
#define HEARTH_HTTP_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/buf.h"
#include "http/error.h"
#include "service/ending.h"

enum {
    METRICS_ROUTES = 160,
    METRICS_STATUSES = 32,
    METRICS_USAGE = 7,
    HISTOGRAM_BUCKETS = 16,
    METRICS_FAULTS = 32
};

struct histogram {
    atomic_ullong bucket[HISTOGRAM_BUCKETS + 1]; /* the last: above every bound */
    atomic_ullong sum_us;
};

struct metrics {
    atomic_int
        status[METRICS_STATUSES]; /* whose column it is, in the order they were first sent; 0: nobody's yet */
    atomic_ullong requests[METRICS_ROUTES][METRICS_STATUSES];
    atomic_ullong admitted[METRICS_ROUTES];
    atomic_ullong ended[METRICS_USAGE][METRICS_ROUTES][N_END_HOW]; /* requests, and what they used */
    atomic_ullong faults[METRICS_FAULTS];                          /* by enum fault_kind */
    atomic_ullong limited, spent,
        away; /* those of them that the account refused: a limit, a budget, a store */
    struct histogram ttft, inter_token, duration;
};

/* route: its row in the table; METRICS_ROUTES-1 for none. */
void metrics_request(struct metrics *m, int route, int status);
/* It was answered with this error. refused: by the account, which says the same kinds for reasons of its own; else FAULT_NONE. */
void metrics_fault(struct metrics *m, enum fault_kind kind, enum fault_kind refused);
void metrics_inter_token(struct metrics *m, double seconds);
/* A request begins to be counted, and what it has come to. */
void metrics_admitted(struct metrics *m, int route);
void metrics_ended(struct metrics *m, const struct ending *e);

/* route_name gives the label of a row, NULL after the last. */
void metrics_print(struct buf *b, const struct metrics *m, const char *(*route_name)(int row));

#endif
