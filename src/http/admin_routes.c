/* admin_routes.c - how the upstreams do: GET /admin/v1/routes, and their lines of /metrics. */
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_out.h"
#include "http/upstream.h"
#include "service/account/money.h"
#include "service/route/router.h"

/* Milliseconds, or null where nothing was measured. */
static void put_ms(struct buf *b, const char *name, double s)
{
    buf_printf(b, "\"%s\":", name);
    if (s < 0)
        buf_puts(b, "null");
    else
        buf_printf(b, "%.1f", s * 1e3);
}

static void put_upstream(struct buf *b, const struct upstream *u, const struct upstream_counts *c)
{
    char dollars[MONEY_TEXT];
    buf_puts(b, "{\"object\":\"upstream\",\"name\":");
    json_out_cstr(b, u->name);
    buf_printf(b,
               ",\"breaker\":\"%s\",\"running\":%d,\"tries\":%llu,\"answered\":%llu,\"failed\":%llu,"
               "\"refused\":%llu,"
               "\"cancelled\":%llu,\"retries\":%llu,\"prompt_tokens\":%llu,\"completion_tokens\":%llu,"
               "\"cost\":\"%s\","
               "\"latency\":{\"answers\":%d,",
               breaker_name(c->breaker), c->running, (unsigned long long)c->tries,
               (unsigned long long)c->answered, (unsigned long long)c->failed, (unsigned long long)c->refused,
               (unsigned long long)c->cancelled, (unsigned long long)c->retries,
               (unsigned long long)c->prompt_tokens, (unsigned long long)c->completion_tokens,
               money_print(c->cost, dollars), c->n_window);
    put_ms(b, "first_byte_p50_ms", c->first_p50_s);
    buf_putc(b, ',');
    put_ms(b, "first_byte_p99_ms", c->first_p99_s);
    buf_putc(b, ',');
    put_ms(b, "p50_ms", c->p50_s);
    buf_putc(b, ',');
    put_ms(b, "p99_ms", c->p99_s);
    buf_printf(b, "},\"shadows\":%llu,\"shadow_failed\":%llu,\"error\":", (unsigned long long)c->shadows,
               (unsigned long long)c->shadow_failed);
    json_out_cstr(b, *c->error ? c->error : NULL);
    buf_puts(b, ",\"models\":[");
    for (int i = 0; i < u->n_models; i++) {
        if (i) buf_putc(b, ',');
        json_out_cstr(b, u->model[i].name);
    }
    buf_puts(b, "]}");
}

static void put_target(struct buf *b, const struct upstreams *all, const struct target *t)
{
    buf_puts(b, "{\"at\":");
    json_out_cstr(b, t->upstream == UPSTREAM_HERE ? "here" : all->v[t->upstream].name);
    buf_puts(b, ",\"weight\":");
    json_out_num(b, t->weight);
    buf_putc(b, '}');
}

static void put_route(struct buf *b, const struct upstreams *all, const struct routed *r)
{
    static const char *const choice[] = { "order", "weighted", "cheapest" };
    buf_puts(b, "{\"object\":\"route\",\"model\":");
    json_out_cstr(b, r->model);
    buf_printf(b, ",\"choice\":\"%s\",\"to\":[", choice[r->choice]);
    for (int i = 0; i < r->n; i++) {
        if (i) buf_putc(b, ',');
        put_target(b, all, &r->to[i]);
    }
    buf_puts(b, "],\"shadow\":");
    if (r->shadow.upstream >= 0) {
        buf_puts(b, "{\"at\":");
        json_out_cstr(b, all->v[r->shadow.upstream].name);
        buf_puts(b, ",\"share\":");
        json_out_num(b, r->shadow_share);
        buf_putc(b, '}');
    } else {
        buf_puts(b, "null");
    }
    buf_putc(b, '}');
}

void admin_routes_get(struct exchange *x)
{
    struct router *r = exchange_server(x)->o.router;
    struct buf b = BUF_INIT(0);
    buf_puts(&b, "{\"object\":\"list\",\"data\":[");
    const struct upstreams *all = r ? router_upstreams(r) : NULL;
    for (int i = 0; all && i < all->n; i++) {
        struct upstream_counts c;
        router_counts(r, all, i, &c);
        if (i) buf_putc(&b, ',');
        put_upstream(&b, &all->v[i], &c);
    }
    buf_puts(&b, "],\"routes\":[");
    for (int i = 0; all && i < all->n_routes; i++) {
        if (i) buf_putc(&b, ',');
        put_route(&b, all, &all->route[i]);
    }
    buf_printf(&b, "],\"shadows_left_out\":%llu}", r ? (unsigned long long)router_shadows_left_out(r) : 0ULL);
    exchange_reply(x, 200, "application/json", &b);
}

/* ---- metrics ------------------------------------------------------------------------------------------------------- */

enum { N_METRICS = 13 };
static const struct {
    const char *name, *type, *help;
} metrics[N_METRICS] = {
    { "hearth_upstream_tries_total", "counter", "Requests sent to an upstream, retries included." },
    { "hearth_upstream_answered_total", "counter", "Those that were answered." },
    { "hearth_upstream_failed_total", "counter",
      "Those that failed: no connection, no whole answer, no time, a 5xx." },
    { "hearth_upstream_refused_total", "counter", "Those that it refused: a 4xx." },
    { "hearth_upstream_retries_total", "counter", "Those that were sent again to the same upstream." },
    { "hearth_upstream_cancelled_total", "counter", "Those whose client left." },
    { "hearth_upstream_prompt_tokens_total", "counter", "Prompt tokens, as the upstream says." },
    { "hearth_upstream_completion_tokens_total", "counter", "Tokens generated, as it says." },
    { "hearth_upstream_cost_dollars_total", "counter", "What that costs by the upstream's price." },
    { "hearth_upstream_running", "gauge", "Requests that it works on." },
    { "hearth_upstream_breaker", "gauge", "0: closed, 1: open, 2: half open." },
    { "hearth_upstream_p50_seconds", "gauge",
      "Of the latest answers, the middle one's time; -1: there are none." },
    { "hearth_upstream_p99_seconds", "gauge", "And the time that one in a hundred passes." },
};

void upstream_print_metrics(struct buf *b, struct router *r)
{
    const struct upstreams *all = router_upstreams(r);
    for (int m = 0; m < N_METRICS; m++) {
        buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", metrics[m].name, metrics[m].help, metrics[m].name,
                   metrics[m].type);
        for (int i = 0; i < all->n; i++) {
            struct upstream_counts c;
            router_counts(r, all, i, &c);
            const double v[N_METRICS] = { (double)c.tries,
                                          (double)c.answered,
                                          (double)c.failed,
                                          (double)c.refused,
                                          (double)c.retries,
                                          (double)c.cancelled,
                                          (double)c.prompt_tokens,
                                          (double)c.completion_tokens,
                                          (double)c.cost / (double)MONEY_DOLLAR,
                                          c.running,
                                          (double)c.breaker,
                                          c.p50_s,
                                          c.p99_s };
            buf_printf(b, "%s{upstream=\"%s\"} %.17g\n", metrics[m].name, all->v[i].name, v[m]);
        }
    }
}
