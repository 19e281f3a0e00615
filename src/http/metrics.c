/* metrics.c - see metrics.h. */
#include "http/metrics.h"

/* Upper bounds in seconds: a cached prompt answers in milliseconds, a long one on a small machine takes a minute. */
static const double fine[HISTOGRAM_BUCKETS] = { 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075,
                                                0.1,   0.15,  0.25,  0.5,  1,    2.5,  5,    10 };
static const double coarse[HISTOGRAM_BUCKETS] = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                                  2.5,   5,    10,    20,   40,  80,   160, 320 };

void metrics_request(struct metrics *m, int route, int status)
{
    int slot = 0;
    for (; slot < METRICS_STATUSES - 1; slot++) { /* the last column is for what is one too many */
        int taken = 0;
        if (atomic_compare_exchange_strong(&m->status[slot], &taken, status) || taken == status) break;
    }
    atomic_fetch_add_explicit(&m->requests[route][slot], 1, memory_order_relaxed);
}

static void record(struct histogram *h, const double *bound, double seconds)
{
    int i = 0;
    while (i < HISTOGRAM_BUCKETS && seconds > bound[i]) i++;
    atomic_fetch_add_explicit(&h->bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_us, (unsigned long long)(seconds * 1e6), memory_order_relaxed);
}

void metrics_ttft(struct metrics *m, double seconds) { record(&m->ttft, coarse, seconds); }
void metrics_inter_token(struct metrics *m, double seconds) { record(&m->inter_token, fine, seconds); }
void metrics_duration(struct metrics *m, double seconds) { record(&m->duration, coarse, seconds); }

static void print_histogram(struct buf *b, const char *name, const char *help, const struct histogram *h,
                            const double *bound)
{
    unsigned long long n = 0;
    buf_printf(b, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name);
    for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
        n += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
        buf_printf(b, "%s_bucket{le=\"%g\"} %llu\n", name, bound[i], n);
    }
    n += atomic_load_explicit(&h->bucket[HISTOGRAM_BUCKETS], memory_order_relaxed);
    buf_printf(b, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.6f\n%s_count %llu\n", name, n, name,
               (double)atomic_load_explicit(&h->sum_us, memory_order_relaxed) * 1e-6, name, n);
}

void metrics_print(struct buf *b, const struct metrics *m, const char *(*route_name)(int row))
{
    buf_puts(b, "# HELP hearth_requests_total Requests answered, by route and status.\n# TYPE "
                "hearth_requests_total counter\n");
    for (int r = 0; r < METRICS_ROUTES; r++) {
        for (int s = 0; s < METRICS_STATUSES; s++) {
            unsigned long long n = atomic_load_explicit(&m->requests[r][s], memory_order_relaxed);
            if (n)
                buf_printf(b, "hearth_requests_total{route=\"%s\",status=\"%d\"} %llu\n", route_name(r),
                           atomic_load_explicit(&m->status[s], memory_order_relaxed), n);
        }
    }
    print_histogram(b, "hearth_time_to_first_token_seconds",
                    "From a request's arrival on its model's queue to its first token.", &m->ttft, coarse);
    print_histogram(b, "hearth_inter_token_seconds", "Between the pieces of text of one choice.",
                    &m->inter_token, fine);
    print_histogram(b, "hearth_request_duration_seconds",
                    "Of text requests, from their arrival to the end of the reply.", &m->duration, coarse);
}
