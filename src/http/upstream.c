/* upstream.c - see upstream.h. */
#include "http/upstream.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "http/admission.h"
#include "http/costs.h"
#include "http/exchange.h"
#include "http/json_in.h"
#include "http/prompt_policy.h"
#include "http/provenance.h"
#include "http/routes.h"
#include "service/account/account.h"
#include "service/ending.h"
#include "service/models/registry.h"
#include "service/route/router.h"

enum {
    USUAL_STEPS = 50,      /* of a picture model that the catalog does not know */
    TEMPLATE_BYTES = 1024, /* what a chat's template puts around the messages, at most */
    BYTES_A_TOKEN = 4,     /* of a prompt whose upstream does not say what it used */
    HOPS_MOST = 4
};

struct passing {
    struct exchange *x;
    const struct route *endpoint;
    struct call *call;
    bool stream, begun, booked, over;
    double first_s; /* until the first event, or the answer */
};

/* ---- what was used ------------------------------------------------------------------------------------------------- */

static void book(struct passing *p, struct usage *u, struct price *price)
{
    call_used(p->call, u, price);
    u->ttft_s = p->first_s;
    u->total_s = clock_seconds() - exchange_started(p->x);
    if (p->booked) return;
    p->booked = true;
    ending_use(exchange_ending(p->x), u);
    ending_cost(exchange_ending(p->x), price_cost(price, u));
}

static void passing_free(void *arg)
{
    struct passing *p = arg;
    struct usage u;
    struct price price;
    if (!p) return;
    if (p->begun) book(p, &u, &price); /* of a client that left, what came until then */
    call_free(p->call);
    free(p);
}

static void passing_cancel(void *arg)
{
    struct passing *p = arg;
    call_cancel(p->call);
}

/* ---- a stream ------------------------------------------------------------------------------------------------------ */

static void put_fault(struct exchange *x, struct buf *out, enum fault_kind kind, const char *why)
{
    buf_puts(out, "data: ");
    fault_print(out, exchange_dialect(x), kind, NULL, why);
    buf_puts(out, "\n\n");
    exchange_note(x, "%.150s", why);
}

static enum produced produce(struct exchange *x, void *arg, struct buf *out)
{
    struct passing *p = arg;
    struct err e = { ERR_NONE, "" };
    struct usage u;
    struct price price;
    enum fault_kind kind;
    if (p->over) return PRODUCED_END;
    const char *why = exchange_early_end(x, NULL, &kind);
    if (!why) {
        switch (call_next(p->call, out, &e)) {
        case CALL_NOTHING: return PRODUCED_NOTHING;
        case CALL_EVENTS: return PRODUCED_EVENT;
        case CALL_LAST: book(p, &u, &price); return PRODUCED_LAST;
        case CALL_END: p->over = true; return PRODUCED_EVENT;
        case CALL_BROKEN: why = exchange_early_end(x, &e, &kind); break;
        }
    }
    put_fault(x, out, kind, why);
    p->over = true; /* nothing follows an error, no [DONE] either */
    return PRODUCED_EVENT;
}

static bool collect(struct exchange *x, void *arg)
{
    (void)x, (void)arg; /* a plain answer is replied with when it is whole */
    return false;
}

static const struct work_ops passing_ops = { collect, produce, passing_cancel, passing_free };

/* ---- what came of it ----------------------------------------------------------------------------------------------- */

static void reply(struct exchange *x, struct passing *p)
{
    struct buf b = BUF_INIT(0);
    struct usage u;
    struct price price;
    if (!call_answer(p->call, &b)) b.failed = true;
    book(p, &u, &price);
    costs_header(x, exchange_server(x)->o.account ? &price : NULL, &u);
    exchange_reply(x, 200, "application/json", &b);
    passing_free(p);
}

static void serve_here(struct exchange *x, struct passing *p)
{
    const struct route *endpoint = p->endpoint;
    exchange_header(x, "X-Hearth-Route", "here");
    passing_free(p);
    endpoint->handler(x);
}

static void go_on(struct exchange *x, void *arg, const struct err *none)
{
    struct passing *p = arg;
    struct fault f = { 0 };
    (void)none;
    p->first_s = clock_seconds() - exchange_started(x);
    switch (call_outcome(p->call, &f.err, &f.retry_after_s)) {
    case CALL_HERE: serve_here(x, p); return;
    case CALL_FAILED:
        passing_free(p);
        exchange_fault_from(x, &f);
        return;
    case CALL_ANSWERED: break;
    }
    exchange_header(x, "X-Hearth-Route", "%s", call_at(p->call));
    p->begun = true;
    if (p->stream)
        exchange_run(x, &passing_ops, p, true);
    else
        reply(x, p);
}

static void on_ready(void *x) { loading_resume(x); }
static void on_wake(void *x) { exchange_wake(x); }

/* ---- the request --------------------------------------------------------------------------------------------------- */

static int64_t whole(const json_t *body, const char *name, int64_t otherwise)
{
    const json_t *v = json_object_get(body, name);
    return json_is_integer(v) && json_integer_value(v) > 0 ? json_integer_value(v) : otherwise;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int small(int64_t v) { return v < INT_MAX ? (int)v : INT_MAX; }

static int context_of(const struct routed *route)
{
    int most = 1;
    for (int i = 0; i < route->n; i++)
        if (route->to[i].model && route->to[i].model->context > most) most = route->to[i].model->context;
    return most;
}

/* The most that it can use at any of its upstreams, and what is taken for used where nothing is said. */
static void estimate(struct exchange *x, const struct routed *route, const json_t *body, size_t len,
                     bool pictures, struct call_request *q, struct usage *worst)
{
    const int64_t n = least(whole(body, "n", 1), 1024), ctx = context_of(route);
    const struct catalog_model *known = catalog_find(exchange_server(x)->catalog, route->model);
    const json_t *prompt = json_object_get(body, "prompt");
    *worst = q->guess = (struct usage){ 0 };
    if (pictures) {
        const int64_t steps =
            least(whole(body, "num_inference_steps",
                        whole(body, "steps", known && known->steps ? known->steps : USUAL_STEPS)),
                  1000);
        worst->pictures = (int)n;
        worst->steps = (int)(n * steps);
        q->guess.steps = (int)steps;
        return;
    }
    /* A prompt may be one array of tokens, or an array of prompts. */
    const int64_t prompts =
        json_is_string(json_array_get(prompt, 0)) || json_is_array(json_array_get(prompt, 0))
            ? (int64_t)json_array_size(prompt)
            : 1;
    const int64_t choices =
        prompts * least(whole(body, "best_of", n) > n ? whole(body, "best_of", n) : n, 1024);
    const int64_t longest = least(whole(body, "max_completion_tokens", whole(body, "max_tokens", ctx)), ctx);
    worst->prompt_tokens = small(least((int64_t)len + TEMPLATE_BYTES, prompts * ctx));
    worst->completion_tokens = small(choices * longest);
    q->guess.prompt_tokens = small((int64_t)len / BYTES_A_TOKEN + 1);
    q->n_choices = small(prompts * n);
}

/* Is this model installed, so that this server is one of the places? And what would it cost here? */
static bool can_here(struct exchange *x, const char *name, bool pictures, const struct usage *worst,
                     int64_t *cost)
{
    struct server *s = exchange_server(x);
    struct model *m;
    struct price price;
    *cost = 0;
    if (pictures ? !registry_find_image(s->registry, name, &m, NULL)
                 : !registry_find(s->registry, name, &m, NULL))
        return false;
    if (costs_price(x, model_id(m), &price)) *cost = price_cost(&price, worst);
    return true;
}

static bool asks_usage(const json_t *body, bool *said)
{
    const json_t *v = json_object_get(json_object_get(body, "stream_options"), "include_usage");
    *said = json_is_boolean(v);
    return json_is_true(v);
}

static const char *isolation(struct exchange *x, char *out, size_t cap)
{
    const char *given = exchange_header_in(x, "x-prompt-cache-isolation-key");
    const bool apart = !exchange_server(x)->o.share_prefixes;
    if (!given && !apart) return NULL;
    snprintf(out, cap, "%s:%s", apart ? exchange_who(x)->id : "", given ? given : "");
    return out;
}

static int hops(struct exchange *x)
{
    const char *v = exchange_header_in(x, "X-Hearth-Hops");
    const long n = v ? strtol(v, NULL, 10) : 0;
    return n < 0 ? 0 : n > HOPS_MOST ? HOPS_MOST : (int)n;
}

/* Starts the call; the exchange goes on as go_on(). */
static void pass_on(struct exchange *x, const struct route *endpoint, const struct plan *plan,
                    struct call_request *q)
{
    struct fault f = { 0 };
    struct passing *p = calloc(1, sizeof *p);
    if (!p) {
        exchange_fault(x, FAULT_SERVER, NULL, "out of memory");
        return;
    }
    *p = (struct passing){ .x = x, .endpoint = endpoint, .stream = q->stream };
    /* Until the first event nothing tells a client that says no more from one that left: no comment can be sent yet. */
    q->stop = exchange_stop_flag(x, false);
    q->ready = on_ready;
    q->wake = on_wake;
    q->arg = x;
    loading_wait(x, go_on, p);
    if (call_start(&p->call, exchange_server(x)->o.router, plan, q, &f.err)) return;
    loading_wait_not(x);
    free(p);
    exchange_fault_from(x, &f);
}

/* False: the handler is to run here. */
static bool dispatch(struct exchange *x, const struct route *endpoint, const struct routed *route,
                     const json_t *body, struct call_request *q)
{
    struct router *r = exchange_server(x)->o.router;
    const bool pictures = strstr(endpoint->path, "/images/") != NULL;
    struct fault f = { 0 };
    struct usage worst;
    struct plan plan;
    int64_t here_cost;
    bool said;
    if (!prompt_policy_body(x, body, &f)) { /* before anything of it leaves, to be compared too */
        ending_model(exchange_ending(x), route->model);
        exchange_fault_from(x, &f);
        return true;
    }
    estimate(x, route, body, q->len, pictures, q, &worst);
    q->stream = json_is_true(json_object_get(body, "stream")) && !pictures;
    q->asks_usage = asks_usage(body, &said);
    q->usage_by_itself = exchange_dialect(x) == DIALECT_FIREWORKS;
    q->hides_usage = !q->asks_usage && (said || !q->usage_by_itself);
    const bool here = can_here(x, route->model, pictures, &worst, &here_cost);
    router_plan(r, route, &worst, here, here_cost, &plan, &f.retry_after_s);
    if (plan.n && plan.to[0]->upstream == UPSTREAM_HERE) {
        exchange_header(x, "X-Hearth-Route", "here");
        router_shadow(r, route, q);
        return false;
    }
    ending_model(exchange_ending(x), route->model);
    ending_may_use(exchange_ending(x), &worst);
    provenance_json(x, body);
    if (!plan.n)
        err_set(&f.err, ERR_UPSTREAM_BUSY,
                "the upstreams of this model are left alone after failures; try again later");
    else if (q->hops >= HOPS_MOST)
        err_set(&f.err, ERR_UPSTREAM,
                "this request has come through %d servers: their routes lead in a circle", q->hops);
    if (f.err.code || !admission_route(x, route->model, plan.worst, &f.err)) {
        exchange_fault_from(x, &f);
        return true;
    }
    router_shadow(r, route, q);
    pass_on(x, endpoint, &plan, q);
    return true;
}

/* Endpoints that every upstream spells alike: JSON that names a model, streams that end with [DONE]. */
static bool passes(const char *path)
{
    static const char *const known[] = { "/chat/completions", "/completions", "/images/generations",
                                         "/embeddings", "/rerank" };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(path, known[i])) return true;
    return false;
}

static bool may_pass(struct exchange *x, const struct route *endpoint)
{
    const char *type = exchange_header_in(x, "Content-Type");
    return exchange_server(x)->o.router && endpoint->endpoint && endpoint->base == BASE_API &&
           endpoint->method == METHOD_POST && passes(endpoint->path) &&
           !(type && !strncasecmp(type, "multipart/", 10));
}

bool upstream_takes(struct exchange *x, const struct route *endpoint)
{
    struct fault f;
    json_t *body;
    char apart[1100];
    int n;
    if (!may_pass(x, endpoint)) return false;
    struct call_request q = { .path = exchange_path(x),
                              .endpoint = endpoint->path,
                              .id = exchange_id(x),
                              .isolation = isolation(x, apart, sizeof apart),
                              .hops = hops(x),
                              .n_choices = 1,
                              .says_cost = exchange_server(x)->o.account != NULL };
    q.body = exchange_body(x, &q.len);
    /* What is no good JSON is told by the endpoint's own handler. */
    if (!json_in_parse(q.body, q.len, &exchange_server(x)->json, &body, &f)) return false;
    q.model = json_string_value(json_object_get(body, "model"));
    const char *bare = q.model ? catalog_bare_name(q.model, &n) : NULL;
    const struct routed *route =
        q.model ? router_find(exchange_server(x)->o.router, q.model, bare, (size_t)n) : NULL;
    bool taken = false;
    if (route) taken = dispatch(x, endpoint, route, body, &q);
    json_decref(body);
    return taken;
}
