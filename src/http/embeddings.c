/* embeddings.c - POST /embeddings, and Ollama's /api/embed and /api/embeddings: from the body to vectors. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/admission.h"
#include "http/costs.h"
#include "http/dialects/embeddings.h"
#include "http/exchange.h"
#include "http/handlers.h"
#include "http/json_in.h"
#include "http/loading.h"
#include "http/ollama.h"
#include "http/provenance.h"
#include "http/relayed_embeddings.h"
#include "service/embed.h"
#include "service/ending.h"

struct embed_work {
    struct embedding_wire wire;
    struct model *model;
    struct embedding *run;
    struct price price;
    bool priced;
    double waits_since, load_s; /* for the model */
};

static void work_free(void *arg)
{
    struct embed_work *t = arg;
    if (!t) return;
    embedding_free(t->run);
    embedding_wire_free(&t->wire);
    free(t);
}

static void work_cancel(void *arg)
{
    struct embed_work *t = arg;
    embedding_cancel(t->run);
}

static void on_event(void *arg) { exchange_wake(arg); }

static void print(struct exchange *x, struct embed_work *t)
{
    const struct embedding_wire *w = &t->wire;
    struct usage u = { 0 };
    struct buf b = BUF_INIT(0);
    embedding_wire_head(&b, w);
    for (int i = 0; i < w->gen.n_prompts && !b.failed; i++) {
        int n;
        const float *v = embedding_vector(t->run, i, &n);
        float *shaped = malloc((size_t)n * sizeof *shaped);
        if (shaped)
            embedding_wire_vector(&b, w, i, shaped,
                                  embedding_shape(v, n, (int)w->dimensions, w->normalize, shaped));
        b.failed |= !shaped;
        free(shaped);
    }
    if (t->run) embedding_usage(t->run, &u);
    embedding_wire_end(&b, w, model_id(t->model), &u, t->load_s, clock_seconds() - exchange_started(x));
    if (t->priced) costs_header(x, &t->price, &u);
    exchange_reply(x, 200, "application/json; charset=utf-8", &b);
}

static bool collect(struct exchange *x, void *arg)
{
    struct embed_work *t = arg;
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

static const struct work_ops embed_ops = { collect, NULL, work_cancel, work_free };

static void start(struct exchange *x, void *work, const struct err *loaded)
{
    struct embed_work *t = work;
    struct fault f = { .err = *loaded };
    const struct embedding_wire *w = &t->wire;
    struct registry *r = exchange_server(x)->registry;
    exchange_at_work(x);
    t->load_s = clock_seconds() - t->waits_since;
    if (f.err.code == ERR_NONE) {
        if (w->keeps) registry_keep(r, t->model, w->keep_s);
        provenance_model(x, t->model);
        t->priced = costs_price(x, model_id(t->model), &t->price);
    }
    if (f.err.code == ERR_NONE && !w->gen.n_prompts) { /* Ollama's clients load a model so */
        print(x, t);
        work_free(t);
    } else if (f.err.code == ERR_NONE &&
               embedding_start(r, t->model, &w->gen, w->cut, exchange_stop_flag(x, false), on_event, x,
                               &t->run, &f)) {
        exchange_run(x, &embed_ops, t, false);
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

static bool parse(struct exchange *x, struct embedding_wire *w, enum embedding_form form, struct fault *f)
{
    json_t *body;
    size_t len;
    const char *bytes = exchange_body(x, &len);
    if (!json_in_parse(bytes, len, &exchange_server(x)->json, &body, f)) return false;
    provenance_json(x, body);
    const bool ok =
        embedding_wire_parse(w, body, form, exchange_dialect(x), exchange_server(x)->o.strict_fields, f);
    json_decref(body);
    return ok;
}

static void run_here(struct exchange *x, void *work)
{
    struct fault f = { .param = "model" };
    struct embed_work *t = work;
    if (!ollama_find(x, t->wire.gen.model, &t->model, &f.err)) {
        work_free(t);
        exchange_fault_from(x, &f);
        return;
    }
    ending_model(exchange_ending(x), model_id(t->model));
    t->waits_since = clock_seconds();
    loading_then(x, t->model, start, t);
}

static void post(struct exchange *x, enum embedding_form form)
{
    struct fault f = { 0 };
    struct embed_work *t = calloc(1, sizeof *t);
    if (!t) {
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        return;
    }
    if (!parse(x, &t->wire, form, &f)) {
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
    const struct routed *route = g->n_prompts ? ollama_route(x, g->model) : NULL;
    if (route)
        relayed_embeddings(x, route, &t->wire, run_here, work_free, t);
    else
        run_here(x, t);
}

void embeddings_post(struct exchange *x) { post(x, EMBEDDING_OPENAI); }
void ollama_embed_post(struct exchange *x) { post(x, EMBEDDING_OLLAMA); }
void ollama_embeddings_post(struct exchange *x) { post(x, EMBEDDING_OLLAMA_ONE); }
