/* rerank.c - POST /rerank: from the body to documents in order. */
#include <stdlib.h>

#include "base/log.h"
#include "http/admission.h"
#include "http/costs.h"
#include "http/dialects/rerank.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_in.h"
#include "http/loading.h"
#include "http/provenance.h"
#include "service/embed.h"
#include "service/ending.h"

struct rerank_work {
    struct rerank_wire wire;
    struct model *model;
    struct embedding *run;
    struct price price;
    bool priced;
};

static void work_free(void *arg)
{
    struct rerank_work *t = arg;
    if (!t) return;
    embedding_free(t->run);
    rerank_wire_free(&t->wire);
    free(t);
}

static void work_cancel(void *arg)
{
    struct rerank_work *t = arg;
    embedding_cancel(t->run);
}

static void on_event(void *arg) { exchange_wake(arg); }

/* The best first; of equal ones, in the request's order. */
static int by_score(const void *x, const void *y)
{
    const struct rerank_hit *a = x, *b = y;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

static void print(struct exchange *x, struct rerank_work *t)
{
    const struct rerank_wire *w = &t->wire;
    const int all = w->gen.n_prompts - 1;
    const int n = w->top_n && w->top_n < all ? (int)w->top_n : all;
    struct usage u;
    struct buf b = BUF_INIT(0);
    struct rerank_hit *hit = calloc((size_t)all, sizeof *hit);
    if (!hit) {
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        return;
    }
    for (int i = 0; i < all; i++) hit[i] = (struct rerank_hit){ i, rerank_score(t->run, i) };
    qsort(hit, (size_t)all, sizeof *hit, by_score);
    embedding_usage(t->run, &u);
    rerank_wire_print(&b, w, model_id(t->model), exchange_id(x), hit, n, &u);
    free(hit);
    if (t->priced) costs_header(x, &t->price, &u);
    exchange_reply(x, 200, "application/json; charset=utf-8", &b);
}

static bool collect(struct exchange *x, void *arg)
{
    struct rerank_work *t = arg;
    struct err e = { 0 };
    enum fault_kind kind;
    const bool over = embedding_over(t->run, &e);
    const char *why = exchange_early_end(x, over && e.code != ERR_NONE ? &e : NULL, &kind);
    if (why)
        exchange_fault(x, kind, NULL, "%s", why);
    else if (over)
        print(x, t);
    return why || over;
}

static const struct work_ops rerank_ops = { collect, NULL, work_cancel, work_free };

static void start(struct exchange *x, void *work, const struct err *loaded)
{
    struct rerank_work *t = work;
    struct fault f = { .err = *loaded };
    exchange_at_work(x);
    if (f.err.code == ERR_NONE) {
        provenance_model(x, t->model);
        t->priced = costs_price(x, model_id(t->model), &t->price);
    }
    if (f.err.code == ERR_NONE && rerank_start(exchange_server(x)->registry, t->model, &t->wire.gen,
                                               exchange_stop_flag(x, false), on_event, x, &t->run, &f)) {
        exchange_run(x, &rerank_ops, t, false);
    } else {
        if (f.err.code == ERR_BUSY) log_info("%s: %s", exchange_id(x), f.err.msg);
        exchange_fault_from(x, &f);
        work_free(t);
    }
    loading_end(x);
}

static bool may_cost(void *x, const struct usage *most, struct err *e)
{
    return admission_reserve(x, most, e);
}

static bool parse(struct exchange *x, struct rerank_wire *w, struct fault *f)
{
    json_t *body;
    size_t len;
    const char *bytes = exchange_body(x, &len);
    if (!json_in_parse(bytes, len, &exchange_server(x)->json, &body, f)) return false;
    provenance_json(x, body);
    const bool ok = rerank_wire_parse(w, body, exchange_dialect(x), exchange_server(x)->o.strict_fields, f);
    json_decref(body);
    return ok;
}

void rerank_post(struct exchange *x)
{
    struct fault f = { 0 };
    struct rerank_work *t = calloc(1, sizeof *t);
    if (!t) {
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        return;
    }
    if (!parse(x, &t->wire, &f)) {
        free(t);
        exchange_fault_from(x, &f);
        return;
    }
    exchange_free_body(x);
    struct gen_request *g = &t->wire.gen;
    g->who = *exchange_who(x);
    g->ending = exchange_ending(x);
    g->may = may_cost;
    g->may_arg = x;
    g->apart = !exchange_server(x)->o.share_prefixes;
    f.param = "model";
    if (!registry_find(exchange_server(x)->registry, g->model, &t->model, &f.err)) {
        work_free(t);
        exchange_fault_from(x, &f);
        return;
    }
    ending_model(exchange_ending(x), model_id(t->model));
    loading_then(x, t->model, start, t);
}
