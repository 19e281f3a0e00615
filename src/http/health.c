/* health.c - is it alive, does it take work, what has it done. */
#include "base/clock.h"
#include "http/access_log.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_out.h"
#include "http/key_metrics.h"
#include "http/routes.h"
#include "service/account/account.h"
#include "service/account/gate.h"
#include "http/tls.h"
#include "http/traces.h"
#include "http/upstream.h"
#include "service/files.h"
#include "service/models/registry.h"

/* As the guides' image server says it, which probes may compare. */
void health_get(struct exchange *x)
{
    struct buf b = BUF_INIT(0);
    buf_puts(&b, "{\"status\":\"ok\",\"service\":\"image-generation\"}");
    exchange_reply(x, 200, "application/json", &b);
}

static bool store_is_away(struct account *a)
{
    struct store_counts c;
    store_count(account_store(a), &c);
    return c.away;
}

/* Which of the places that requests need cannot be reached: names alone, for anybody may ask. */
void ready_get(struct exchange *x)
{
    struct buf b = BUF_INIT(0);
    struct server *s = exchange_server(x);
    const char *away[3];
    int n = 0;
    if (s->o.gate && gate_away(s->o.gate, &(struct err){ ERR_NONE, "" })) away[n++] = "counters";
    if (s->o.account && store_is_away(s->o.account)) away[n++] = "store";
    const bool ready = atomic_load(&s->ready) && !n;
    buf_printf(&b, "{\"ready\":%s", ready ? "true" : "false");
    /* Without it all but pictures' URLs works. */
    if (s->o.files && blobs_failed(s->o.files)) away[n++] = "files";
    for (int i = 0; i < n; i++) buf_printf(&b, "%s\"%s\"", i ? "," : ",\"away\":[", away[i]);
    buf_puts(&b, n ? "]}" : "}");
    exchange_reply(x, ready ? 200 : 503, "application/json", &b);
}

/* The models' own counters. Each metric's lines stand together, as the format asks, so the models are walked once a metric. */
enum { N_MODEL_METRICS = 16 };
static const struct {
    const char *name, *type, *help;
} model_metrics[N_MODEL_METRICS] = {
    { "hearth_model_requests_total", "counter", "Requests submitted to a model." },
    { "hearth_prompt_tokens_total", "counter", "Prompt tokens, cached ones included." },
    { "hearth_prefix_hit_tokens_total", "counter", "Prompt tokens that were found in the cache." },
    { "hearth_generated_tokens_total", "counter", "Tokens generated." },
    { "hearth_steps_total", "counter", "Batches computed." },
    { "hearth_step_rows_total", "counter",
      "Rows (tokens) in those batches; divided by steps: the mean batch size." },
    { "hearth_step_seconds_total", "counter", "Time spent in batches." },
    { "hearth_preemptions_total", "counter", "Sequences set back for want of pages." },
    { "hearth_cancelled_total", "counter", "Requests cancelled." },
    { "hearth_guesses_accepted_total", "counter",
      "Tokens that were guessed, computed beside others, and came." },
    { "hearth_guesses_refused_total", "counter", "Tokens that were guessed and did not come." },
    { "hearth_running", "gauge", "Sequences being generated: the batch size." },
    { "hearth_queue", "gauge", "Sequences waiting: choices of requests." },
    { "hearth_kv_pages_used", "gauge", "Pages of keys and values in use." },
    { "hearth_kv_pages", "gauge", "Pages of keys and values there are." },
    { "hearth_model_resident_bytes", "gauge", "Memory that a loaded model holds." },
};

struct metric_walk {
    struct buf *b;
    int which;
};

static void print_one(void *arg, const char *id, const struct model_counts *s)
{
    struct metric_walk *w = arg;
    const double v[N_MODEL_METRICS] = {
        (double)s->requests,       (double)s->prompt_tokens,
        (double)s->cached_tokens,  (double)s->completion_tokens,
        (double)s->steps,          (double)s->step_rows,
        s->step_seconds,           (double)s->preemptions,
        (double)s->cancelled,      (double)s->guesses_right,
        (double)s->guesses_wrong,  (double)s->running,
        (double)s->waiting,        (double)s->kv_pages_used,
        (double)s->kv_pages_total, (double)s->resident_bytes,
    };
    buf_printf(w->b, "%s{model=", model_metrics[w->which].name);
    json_out_cstr(w->b, id);
    buf_printf(w->b, "} %.17g\n", v[w->which]);
}

static void print_tls(struct buf *b, struct tls *t)
{
    const struct tls_counts n = tls_counts(t);
    buf_printf(b,
               "# HELP hearth_tls_handshakes_total TLS handshakes, by how they went; plain: it was HTTP.\n"
               "# TYPE hearth_tls_handshakes_total counter\n"
               "hearth_tls_handshakes_total{result=\"done\"} %llu\n"
               "hearth_tls_handshakes_total{result=\"failed\"} %llu\n"
               "hearth_tls_handshakes_total{result=\"plain\"} %llu\n"
               "# HELP hearth_tls_certificate_end_timestamp_seconds When the certificate ends.\n"
               "# TYPE hearth_tls_certificate_end_timestamp_seconds gauge\n"
               "hearth_tls_certificate_end_timestamp_seconds %lld\n",
               n.done, n.failed, n.plain, (long long)tls_ends(t));
}

static void print_value(struct buf *b, const char *name, const char *type, const char *help, double v)
{
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, type, name, v);
}

static void print_store(struct buf *b, struct account *a)
{
    static const char name[] = "hearth_store_commit_seconds";
    struct store_counts c;
    uint64_t n = 0;
    store_count(account_store(a), &c);
    print_value(b, "hearth_store_up", "gauge", "1 when the store can be written to, 0 while it is away.",
                !c.away);
    print_value(b, "hearth_store_waiting", "gauge", "Rows and changes that wait to be written.", c.waiting);
    print_value(b, "hearth_store_written_total", "counter", "Rows and changes written.", (double)c.written);
    print_value(b, "hearth_store_failures_total", "counter", "Transactions that could not be written.",
                (double)c.failures);
    buf_printf(b, "# HELP %s Of transactions, each of which writes all that waits.\n# TYPE %s histogram\n",
               name, name);
    for (int i = 0; i <= STORE_BUCKETS; i++) {
        n += c.bucket[i];
        if (i < STORE_BUCKETS)
            buf_printf(b, "%s_bucket{le=\"%g\"} %llu\n", name, store_bounds[i], (unsigned long long)n);
    }
    buf_printf(b, "%s_bucket{le=\"+Inf\"} %llu\n%s_sum %.6f\n%s_count %llu\n", name, (unsigned long long)n,
               name, c.commit_s, name, (unsigned long long)n);
}

static void print_spans(struct buf *b, const struct traces *t)
{
    const struct traces_counts n = traces_counts(t);
    buf_printf(b,
               "# HELP hearth_spans_sent_total Spans that the collector of traces took.\n"
               "# TYPE hearth_spans_sent_total counter\nhearth_spans_sent_total %llu\n"
               "# HELP hearth_spans_dropped_total Spans that it did not get.\n"
               "# TYPE hearth_spans_dropped_total counter\nhearth_spans_dropped_total %llu\n",
               n.sent, n.dropped);
}

void metrics_get(struct exchange *x)
{
    struct buf b = BUF_INIT(0);
    struct server *s = exchange_server(x);
    metrics_print(&b, &s->metrics, routes_name);
    for (int i = 0; i < N_MODEL_METRICS; i++) {
        struct metric_walk w = { &b, i };
        buf_printf(&b, "# HELP %s %s\n# TYPE %s %s\n", model_metrics[i].name, model_metrics[i].help,
                   model_metrics[i].name, model_metrics[i].type);
        registry_counts(s->registry, print_one, &w);
    }
    buf_printf(&b,
               "# HELP hearth_active_requests Requests being worked on.\n# TYPE hearth_active_requests "
               "gauge\nhearth_active_requests %d\n",
               server_active(s));
    buf_printf(&b,
               "# HELP hearth_uptime_seconds Since the server started.\n# TYPE hearth_uptime_seconds "
               "gauge\nhearth_uptime_seconds %.3f\n",
               clock_seconds() - s->started);
    if (s->o.tls) print_tls(&b, s->o.tls);
    if (s->o.access_log)
        buf_printf(
            &b,
            "# HELP hearth_access_log_dropped_total Lines of the access log that were not written.\n# TYPE "
            "hearth_access_log_dropped_total counter\nhearth_access_log_dropped_total %llu\n",
            access_log_dropped(s->o.access_log));
    if (s->o.gate)
        print_value(&b, "hearth_counters_up", "gauge",
                    "1 when limits can be counted, 0 while their place is away.",
                    !gate_away(s->o.gate, &(struct err){ ERR_NONE, "" }));
    if (s->o.account) print_store(&b, s->o.account);
    if (s->o.key_metrics) key_metrics_print(&b, s->o.key_metrics);
    if (s->o.traces) print_spans(&b, s->o.traces);
    if (s->o.router) upstream_print_metrics(&b, s->o.router);
    exchange_reply(x, 200, "text/plain; version=0.0.4; charset=utf-8", &b);
}
