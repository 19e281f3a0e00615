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

/* Why requests are answered with an error, in a word. */
static const char *const reasons[] = {
    [FAULT_INVALID] = "invalid",
    [FAULT_UNSUPPORTED] = "unsupported",
    [FAULT_CONTEXT] = "context",
    [FAULT_KEY] = "key",
    [FAULT_PAYMENT] = "payment",
    [FAULT_FORBIDDEN] = "forbidden",
    [FAULT_URL] = "url",
    [FAULT_MODEL] = "model",
    [FAULT_METHOD] = "method",
    [FAULT_ACCEPT] = "accept",
    [FAULT_TIMEOUT] = "timeout",
    [FAULT_HELD] = "held",
    [FAULT_TOO_LARGE] = "too_large",
    [FAULT_URI_TOO_LONG] = "uri_length",
    [FAULT_MEDIA] = "media_type",
    [FAULT_BUSY] = "busy",
    [FAULT_HEADERS] = "headers",
    [FAULT_SERVER] = "server",
    [FAULT_GATEWAY] = "upstream",
    [FAULT_UNAVAILABLE] = "unavailable",
    [FAULT_GATEWAY_TIME] = "upstream_time",
    [FAULT_VERSION] = "version",
};
enum { N_REASONS = sizeof reasons / sizeof *reasons };
_Static_assert(N_REASONS <= (int)METRICS_FAULTS, "each kind of error has a counter");

void metrics_fault(struct metrics *m, enum fault_kind kind, enum fault_kind refused)
{
    atomic_ullong *c = (int)kind < METRICS_FAULTS ? &m->faults[kind] : &m->faults[FAULT_SERVER];
    if (refused == FAULT_BUSY) c = &m->limited;
    if (refused == FAULT_PAYMENT) c = &m->spent;
    if (refused == FAULT_UNAVAILABLE) c = &m->away;
    atomic_fetch_add_explicit(c, 1, memory_order_relaxed);
}

static void print_reason(struct buf *b, const char *reason, const atomic_ullong *c)
{
    const unsigned long long n = atomic_load_explicit(c, memory_order_relaxed);
    if (n) buf_printf(b, "hearth_faults_total{reason=\"%s\"} %llu\n", reason, n);
}

static void print_faults(struct buf *b, const struct metrics *m)
{
    buf_puts(b, "# HELP hearth_faults_total Requests answered with an error, by why; limit, budget and store "
                "are the account's.\n"
                "# TYPE hearth_faults_total counter\n");
    for (int i = 0; i < N_REASONS; i++)
        if (reasons[i]) print_reason(b, reasons[i], &m->faults[i]);
    print_reason(b, "limit", &m->limited);
    print_reason(b, "budget", &m->spent);
    print_reason(b, "store", &m->away);
}

static void record(struct histogram *h, const double *bound, double seconds)
{
    int i = 0;
    while (i < HISTOGRAM_BUCKETS && seconds > bound[i]) i++;
    atomic_fetch_add_explicit(&h->bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_us, (unsigned long long)(seconds * 1e6), memory_order_relaxed);
}

void metrics_inter_token(struct metrics *m, double seconds) { record(&m->inter_token, fine, seconds); }

void metrics_admitted(struct metrics *m, int route)
{
    atomic_fetch_add_explicit(&m->admitted[route], 1, memory_order_relaxed);
}

/* What is kept of every end, whatever it was. */
static const struct {
    const char *name, *help;
} ended[METRICS_USAGE] = {
    { "hearth_ended_total", "Admitted requests that have ended, by route and how." },
    { "hearth_used_prompt_tokens_total", "Prompt tokens of ended requests, cached ones included." },
    { "hearth_used_cached_tokens_total", "Those of them that were found in the cache." },
    { "hearth_used_completion_tokens_total", "Tokens generated for ended requests." },
    { "hearth_used_pictures_total", "Pictures made for ended requests." },
    { "hearth_used_steps_total", "Steps of image networks for ended requests." },
    { "hearth_used_pixels_total", "Pixels of the pictures made." },
};

void metrics_ended(struct metrics *m, const struct ending *e)
{
    const struct usage *u = &e->usage;
    const unsigned long long v[METRICS_USAGE] = {
        1,
        (unsigned long long)u->prompt_tokens,
        (unsigned long long)u->cached_tokens,
        (unsigned long long)u->completion_tokens,
        (unsigned long long)u->pictures,
        (unsigned long long)u->steps,
        (unsigned long long)u->pixels,
    };
    for (int i = 0; i < METRICS_USAGE; i++)
        atomic_fetch_add_explicit(&m->ended[i][e->of.route][e->how], v[i], memory_order_relaxed);
    if (u->ttft_s > 0) record(&m->ttft, coarse, u->ttft_s);
    if (e->how == END_DONE) record(&m->duration, coarse, e->seconds);
}

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
    print_faults(b, m);
    buf_puts(b, "# HELP hearth_admitted_total Requests for text or pictures that were admitted, by route.\n"
                "# TYPE hearth_admitted_total counter\n");
    for (int r = 0; r < METRICS_ROUTES; r++) {
        unsigned long long n = atomic_load_explicit(&m->admitted[r], memory_order_relaxed);
        if (n) buf_printf(b, "hearth_admitted_total{route=\"%s\"} %llu\n", route_name(r), n);
    }
    for (int i = 0; i < METRICS_USAGE; i++) {
        buf_printf(b, "# HELP %s %s\n# TYPE %s counter\n", ended[i].name, ended[i].help, ended[i].name);
        for (int r = 0; r < METRICS_ROUTES; r++) {
            for (int how = 0; how < N_END_HOW; how++) {
                unsigned long long n = atomic_load_explicit(&m->ended[i][r][how], memory_order_relaxed);
                if (n)
                    buf_printf(b, "%s{route=\"%s\",end=\"%s\"} %llu\n", ended[i].name, route_name(r),
                               end_how_name(how), n);
            }
        }
    }
    print_histogram(b, "hearth_time_to_first_token_seconds",
                    "From a request's arrival on its model's queue to its first token.", &m->ttft, coarse);
    print_histogram(b, "hearth_inter_token_seconds", "Between the pieces of text of one choice.",
                    &m->inter_token, fine);
    print_histogram(b, "hearth_request_duration_seconds",
                    "Of text requests, from their arrival to the end of the reply.", &m->duration, coarse);
}
